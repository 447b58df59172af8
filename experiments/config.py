"""The typed form of a run's configuration. Config files build the dict; nothing here has a default."""

import dataclasses
import difflib
import typing

from data.errors import BadInput

Count = typing.Annotated[int, 1]  # at least 1
Natural = typing.Annotated[int, 0]


@dataclasses.dataclass(frozen=True)
class Model:
  width: Count
  layers: Count
  head_dim: Count
  dtype: str  # "float32" or "bfloat16" matmuls
  scan: bool
  remat: str  # "none", "dots", "full"


@dataclasses.dataclass(frozen=True)
class Data:
  dataset: str  # directory made by data.build
  train_split: str
  eval_split: str
  batch_windows: Count
  unique_windows: Natural  # 0: all
  read_threads: Natural
  blind_to: str  # "", "map" or "agents": what is hidden from the model


@dataclasses.dataclass(frozen=True)
class Optimizer:
  learning_rate: float  # peak, at `base_width`
  base_width: Natural  # muP: matrices at width w learn at learning_rate * base_width / w; 0: the same for all
  schedule: str  # "cosine", "linear" or "wsd" (warm-up, stable, decay)
  warmup: float  # fraction of the steps
  final: float  # last learning rate over peak
  weight_decay: float
  clip: float  # global gradient norm
  b1: float
  b2: float
  z_loss: float
  accumulate: Count  # micro-batches per step


@dataclasses.dataclass(frozen=True)
class Mesh:
  data: Count
  fsdp: Count
  tensor: Count
  sequence: Count


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  every_steps: Count
  keep: Count


@dataclasses.dataclass(frozen=True)
class Recovery:
  patience: Count  # consecutive non-finite steps before rolling back
  rollbacks: Natural  # before giving up


@dataclasses.dataclass(frozen=True)
class Train:
  """One run. `tokens` is the training budget D in supervised moves."""

  family: str
  objective: str
  seed: int
  tokens: Count
  log_every: Count
  tensorboard: bool
  model: Model
  data: Data
  optimizer: Optimizer
  mesh: Mesh
  checkpoint: Checkpoint
  recovery: Recovery


def from_dict(values: dict, kind: type = Train, where: str = "config") -> typing.Any:
  """Nested dict to the dataclass; a missing, unknown, wrongly typed or too small value raises BadInput."""
  fields = {field.name: field.type for field in dataclasses.fields(kind)}
  for name in values:
    if name not in fields:
      near = difflib.get_close_matches(name, fields, 1)
      raise BadInput(f"unknown key {name!r}", where, f"did you mean {near[0]!r}?" if near else "remove it")
  for name in fields:
    if name not in values:
      raise BadInput(f"key {name!r} is missing", where, "set it in the config file")
  return kind(**{name: _value(values[name], wanted, name, where) for name, wanted in fields.items()})


def _value(value: typing.Any, wanted: typing.Any, name: str, where: str) -> typing.Any:
  if dataclasses.is_dataclass(wanted) and isinstance(value, dict):
    return from_dict(value, typing.cast(type, wanted), f"{where}.{name}")
  plain, *least = typing.get_args(wanted) or (wanted,)
  if plain is float and type(value) is int:
    value = float(value)
  if type(value) is not plain:
    raise BadInput(f"{name} is {value!r}, which is no {plain.__name__}", where, "correct its type")
  if least and value < least[0]:
    raise BadInput(f"{name} is {value}, below {least[0]}", where, "raise it")
  return value
