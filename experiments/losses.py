"""What `config.loss` holds, by objective. An objective that is added gets its dataclass and its line in LOSSES here.

No JAX: a mistyped key is answered before anything heavy is imported.
"""

import dataclasses

from experiments.ranges import Count, Decay, Least0, Natural, Positive, Share


@dataclasses.dataclass(frozen=True)
class NextToken:
  """objectives/next_token.py."""

  z_weight: Least0


@dataclasses.dataclass(frozen=True)
class Hiding:
  """objectives/masks.py."""

  ratio: Share  # of the tokens of each sensor
  block: Count
  tube: bool


@dataclasses.dataclass(frozen=True)
class Predictor:
  """models/predictor.py: the narrow trunk; it mixes as the encoder does."""

  width: Count
  layers: Count
  head_dim: Count


@dataclasses.dataclass(frozen=True)
class Masked:
  """objectives/masked.py. standardise: patches are shown less their mean, by their deviation."""

  hide: Hiding
  predictor: Predictor
  standardise: bool


@dataclasses.dataclass(frozen=True)
class Jepa:
  """objectives/jepa.py. momentum: of the teacher at the first step (objectives/teacher.py)."""

  hide: Hiding
  predictor: Predictor
  momentum: Share


@dataclasses.dataclass(frozen=True)
class Contrastive:
  """objectives/contrastive.py. views: sensors that are compared, with commas."""

  views: str
  hidden: Count
  outputs: Count


@dataclasses.dataclass(frozen=True)
class SelfDistillation:
  """objectives/self_distillation.py. drop: probability that a view lacks a sensor. momentum: as in Jepa."""

  hide: Hiding
  drop: Share
  views: Count
  hidden: Count
  outputs: Count
  prototypes: Count
  student_temperature: Positive
  teacher_temperature: Positive
  sinkhorn_rounds: Natural  # 0: a centre in its place
  centre_momentum: Decay
  momentum: Share


LOSSES: dict[str, type] = {
  "next_token": NextToken,
  "masked": Masked,
  "jepa": Jepa,
  "contrastive": Contrastive,
  "self_distillation": SelfDistillation,
}
