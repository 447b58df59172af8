"""The typed form of a run's configuration. Config files build the dict; nothing here has a default."""

import dataclasses
import difflib
import typing

from data.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Model:
  width: int
  layers: int
  head_dim: int
  dtype: str  # "float32" or "bfloat16" matmuls
  scan: bool
  remat: str  # "none", "dots", "full"


@dataclasses.dataclass(frozen=True)
class Data:
  dataset: str  # directory made by data.build
  train_split: str
  eval_split: str
  batch_windows: int
  unique_windows: int  # 0: all
  read_threads: int
  blind_to: str  # "", "map" or "agents": what is hidden from the model


@dataclasses.dataclass(frozen=True)
class Optimizer:
  learning_rate: float  # peak, at `base_width`
  base_width: int  # muP: matrices at width w learn at learning_rate * base_width / w; 0: the same for all
  schedule: str  # "cosine", "linear" or "wsd" (warm-up, stable, decay)
  warmup: float  # fraction of the steps
  final: float  # last learning rate over peak
  weight_decay: float
  clip: float  # global gradient norm
  b1: float
  b2: float
  z_loss: float
  accumulate: int  # micro-batches per step


@dataclasses.dataclass(frozen=True)
class Mesh:
  data: int
  fsdp: int
  tensor: int
  sequence: int


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  every_steps: int
  keep: int


@dataclasses.dataclass(frozen=True)
class Recovery:
  patience: int  # consecutive non-finite steps before rolling back
  rollbacks: int  # before giving up


@dataclasses.dataclass(frozen=True)
class Train:
  """One run. `tokens` is the training budget D in supervised moves."""

  family: str
  objective: str
  seed: int
  tokens: int
  log_every: int
  tensorboard: bool
  model: Model
  data: Data
  optimizer: Optimizer
  mesh: Mesh
  checkpoint: Checkpoint
  recovery: Recovery


def from_dict(values: dict, kind: type = Train, where: str = "config") -> typing.Any:
  """Nested dict to the dataclass; a missing, unknown or wrongly typed key raises BadInput."""
  fields = {field.name: field.type for field in dataclasses.fields(kind)}
  for name in values:
    if name not in fields:
      near = difflib.get_close_matches(name, fields, 1)
      raise BadInput(f"unknown key {name!r}", where, f"did you mean {near[0]!r}?" if near else "remove it")
  made = {}
  for name, wanted in fields.items():
    if name not in values:
      raise BadInput(f"key {name!r} is missing", where, "set it in the config file")
    value = values[name]
    if dataclasses.is_dataclass(wanted):
      made[name] = from_dict(value, typing.cast(type, wanted), f"{where}.{name}")
      continue
    if wanted is float and type(value) is int:
      value = float(value)
    if type(value) is not wanted:
      raise BadInput(
        f"{name} is {value!r}, not a {getattr(wanted, '__name__', wanted)}", where, "correct its type"
      )
    made[name] = value
  return kind(**made)
