"""What `config.loss` holds, by objective. An objective that is added gets its dataclass and its line in LOSSES here.

No JAX: a mistyped key is answered before anything heavy is imported.
"""

import dataclasses
import typing

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
class Filling:
  """What objectives have in common that fill in hidden tokens.

  drop: probability that a training clip lacks a sensor; what is not there is neither shown nor asked for.
  """

  drop: Share
  hide: Hiding
  predictor: Predictor


@dataclasses.dataclass(frozen=True)
class Masked(Filling):
  """objectives/masked.py. standardise: patches are shown less their mean, by their deviation."""

  standardise: bool


@dataclasses.dataclass(frozen=True)
class Jepa(Filling):
  """objectives/jepa.py. momentum: of the teacher at the first step (objectives/teacher.py)."""

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


@dataclasses.dataclass(frozen=True)
class HeadWeights:
  """models/heads.py, by name; per box, cell, polyline or point that a step has room for. 0: there is no such head."""

  segmentation: Least0
  occupancy: Least0
  detection: Least0
  elements: Least0
  forecasting: Least0
  forecast_spread: Least0
  tracking: Least0
  plan: Least0
  plan_spread: Least0
  actions: Least0


@dataclasses.dataclass(frozen=True)
class MultiTask:
  """objectives/multi_task.py."""

  weights: HeadWeights
  learned: bool  # weights times those that are learned with the model
  drop: Share  # probability that a training clip lacks a sensor; one is always left
  density: typing.Literal["gaussian", "laplace"]  # of trajectories
  modes: Count  # of trajectories
  ahead: Count  # steps of occupancy
  patch: Count  # cells along the edge of what one query answers for


@dataclasses.dataclass(frozen=True)
class Generative:
  """objectives/denoising.py. drop: as in Filling. samples: drawn of each held-out clip, in sample_steps."""

  drop: Share
  target: typing.Literal["plan", "cells"]
  patch: Count  # cells along the edge of a token of "cells"
  denoiser: Predictor
  samples: Count
  sample_steps: Count


@dataclasses.dataclass(frozen=True)
class FlowMatching(Generative):
  """objectives/flow_matching.py. sigma_min: the last spread around a datum."""

  sigma_min: Least0


@dataclasses.dataclass(frozen=True)
class Diffusion(Generative):
  """objectives/diffusion.py. eta: noise of the sampler."""

  noise_steps: Count
  eta: Share


@dataclasses.dataclass(frozen=True)
class Reconstruction:
  """objectives/reconstruction.py, and what moves a learned codebook (models/vq.py)."""

  commitment: Least0
  decay: Decay  # of the codebook's moving averages, per step
  least: Least0  # uses per step below which a code is put onto a vector of the batch


@dataclasses.dataclass(frozen=True)
class Distillation:
  """objectives/distillation.py, in place of a share of next_token."""

  teacher: str  # directory of the finished run that teaches
  weight: Share  # of the teacher's answers; the rest is the logged moves'
  features: Least0  # of the direction of its last hidden states, beside both; 0: they are not looked at
  temperature: Positive
  z_weight: Least0


@dataclasses.dataclass(frozen=True)
class PolicyDistillation(MultiTask):
  """objectives/multi_task.py with the heads of a policy, and the answers of a finished one in place of a share."""

  teacher: str  # directory of the finished run that teaches
  weight: Share  # of the teacher's answers; the rest is what the driver did
  temperature: Positive  # of the actions' logits


LOSSES: dict[str, type] = {
  "next_token": NextToken,
  "masked": Masked,
  "jepa": Jepa,
  "contrastive": Contrastive,
  "self_distillation": SelfDistillation,
  "multi_task": MultiTask,
  "flow_matching": FlowMatching,
  "diffusion": Diffusion,
  "reconstruction": Reconstruction,
  "distillation": Distillation,
  "policy_distillation": PolicyDistillation,
}
