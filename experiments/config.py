"""The typed form of a run's configuration. Config files build the dict; nothing here has a default."""

import dataclasses
import difflib
import typing

from data.errors import BadInput
from experiments.losses import LOSSES
from experiments.ranges import Count, Decay, Least0, Natural, Positive, Share
from experiments.shapes import SHAPES

# Which dataclass a key is made of is said by another key: name to (that key, its values and their dataclasses).
_CHOSEN = {"model": ("family", SHAPES), "loss": ("objective", LOSSES)}


@dataclasses.dataclass(frozen=True)
class Mixture:
  """How often records are read, data/mixtures.py; slices are written as in data/slices.py."""

  only: str  # a slice: all others are left out; "": none are
  axes: str  # "domain,weather": cells whose shares are tempered; "": one cell
  temperature: typing.Annotated[float, 1.0]  # shares go as n^(1 / temperature); 1: natural
  boosts: str  # "rare=1*4;domain=apron*2": slices that come so much oftener
  replay: str  # a slice of old records among the others; "": none
  replay_share: Share  # of every batch
  correct: typing.Literal["none", "importance"]  # importance: losses weigh records back to natural frequency


@dataclasses.dataclass(frozen=True)
class Start:
  run: str  # directory of a finished run whose weights this one begins with; "": from scratch
  # What becomes of a weight that has another shape there; the last three cut it down, experiments/pruning.py.
  other_shapes: typing.Literal["refuse", "fresh", "magnitude", "taylor", "random"]


@dataclasses.dataclass(frozen=True)
class Adaptation:
  """What learns, experiments/adaptation.py."""

  method: typing.Literal["none", "lora", "adapter", "prefix", "bias", "norm", "head", "recalibrate"]
  rank: Natural  # of deltas; hidden units of adapters; length of a prefix
  alpha: Least0  # deltas count alpha / rank
  match: str  # regular expression: paths of the weights that get deltas
  also: typing.Literal["", "bias", "norm", "head"]  # learns whole besides: heads that a base lacks, say


@dataclasses.dataclass(frozen=True)
class Data:
  dataset: str  # directory made by data.build
  train_split: str
  eval_split: str
  batch_windows: Count  # records per step: windows, or clips
  unique_windows: Natural  # 0: all
  read_threads: Natural
  blind_to: typing.Literal["", "map", "agents"]  # what is hidden from the model
  mixture: Mixture


@dataclasses.dataclass(frozen=True)
class Optimizer:
  learning_rate: Positive  # peak, at `base_width`
  base_width: Natural  # muP: matrices at width w learn at learning_rate * base_width / w; 0: the same for all
  schedule: typing.Literal["cosine", "linear", "wsd"]  # wsd: warm-up, stable, decay
  warmup: Share  # fraction of the steps
  final: Share  # last learning rate over peak
  weight_decay: Least0
  clip: Positive  # global gradient norm
  b1: Decay
  b2: Decay
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
class Probe:
  every_steps: Natural  # 0: never
  records: Natural  # of either split at most; 0: all


@dataclasses.dataclass(frozen=True)
class Recovery:
  patience: Count  # consecutive non-finite steps before rolling back
  rollbacks: Natural  # before giving up


@dataclasses.dataclass(frozen=True)
class Train:
  """One run. `tokens` is the training budget D: supervised moves, or tokens of clips.

  `model` is typed by the family (experiments/shapes.py), `loss` by the objective (experiments/losses.py).
  """

  family: str
  objective: str
  seed: Natural
  tokens: Count
  log_every: Count
  tensorboard: bool
  model: typing.Any
  loss: typing.Any
  start: Start
  adaptation: Adaptation
  data: Data
  optimizer: Optimizer
  mesh: Mesh
  checkpoint: Checkpoint
  probe: Probe
  recovery: Recovery


def from_dict(values: dict, kind: type = Train, where: str = "config") -> typing.Any:
  """Nested dict to the dataclass; what is missing, unknown, of another type or out of range raises BadInput."""
  fields = {field.name: field.type for field in dataclasses.fields(kind)}
  for name in values:
    if name not in fields:
      near = difflib.get_close_matches(name, fields, 1)
      raise BadInput(f"unknown key {name!r}", where, f"did you mean {near[0]!r}?" if near else "remove it")
  for name in fields:
    if name not in values:
      raise BadInput(f"key {name!r} is missing", where, "set it in the config file")
  if kind is Train:
    for name, (key, known) in _CHOSEN.items():
      fields[name] = _choice(values[key], known, key)
  return kind(**{name: _value(values[name], wanted, name, where) for name, wanted in fields.items()})


def _choice(value: typing.Any, known: dict[str, type], key: str) -> type:
  if value not in tuple(known):
    raise BadInput(f"{key} is {value!r}", f"config.{key}", f"choose {' or '.join(known)}")
  return known[value]


def _value(value: typing.Any, wanted: typing.Any, name: str, where: str) -> typing.Any:
  if dataclasses.is_dataclass(wanted) and isinstance(value, dict):
    return from_dict(value, typing.cast(type, wanted), f"{where}.{name}")
  if typing.get_origin(wanted) is typing.Literal:
    if value not in typing.get_args(wanted):
      known = ", ".join(repr(one) for one in typing.get_args(wanted))
      raise BadInput(f"{name} is {value!r}", where, f"choose one of {known}")
    return value
  plain, *bounds = typing.get_args(wanted) or (wanted,)
  if plain is float and type(value) is int:
    value = float(value)
  if plain is tuple and type(value) is list:  # what JSON makes of one
    value = tuple(value)
  if type(value) is not plain:
    raise BadInput(f"{name} is {value!r}, which is no {plain.__name__}", where, "correct its type")
  if bounds and not value >= bounds[0]:
    raise BadInput(f"{name} is {value}, below {bounds[0]}", where, "raise it")
  if len(bounds) > 1 and value > bounds[1]:
    raise BadInput(f"{name} is {value}, above {bounds[1]}", where, "lower it")
  return value
