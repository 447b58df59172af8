"""Configurations of models that compare summaries: they count themselves, without importing JAX.

FLOPs: 2 per multiply-add, backward twice the forward, per token of a clip.
"""

import dataclasses

from models.perception_config import PretrainConfig


@dataclasses.dataclass(frozen=True)
class ContrastiveConfig(PretrainConfig):
  """perception: the encoder. views: sensors that are compared. hidden, outputs: M and E of their projections."""

  views: tuple[str, ...]
  hidden: int
  outputs: int

  def __post_init__(self):
    missing = [name for name in self.views if name not in self.perception.sensors]
    if missing or len(set(self.views)) != len(self.views) or len(self.views) < 2:
      raise ValueError(f"views {self.views} are not two or more of {', '.join(self.perception.sensors)}")

  def param_count(self) -> int:
    heads = len(self.views) * self.hidden * (self.perception.trunk.width + self.outputs)
    return self.perception.param_count() + heads + 1

  def flops_per_token(self) -> int:
    """Each view is encoded alone, other sensors not at all; the similarities of a batch, B^2 E, are not counted."""
    p = self.perception
    alone = sum(p.forward_flops(p.sensors[name].places) - p.forward_flops(0) for name in self.views)
    embedded = sum(
      p.sensors[name].flops_per_clip(p.trunk.width, p.tube, p.trunk.steps) for name in self.views
    )
    heads = len(self.views) * 2 * self.hidden * (p.trunk.width + self.outputs)
    return 3 * (alone + embedded + heads) // p.tokens

  def stem_flops_per_token(self) -> int:
    """Of the sensors that are compared; see MotionConfig."""
    p = self.perception
    stems = (p.sensors[name].stem_flops_per_clip(p.trunk.width, p.tube, p.trunk.steps) for name in self.views)
    return p.trunk.stem_flops_per_token() + sum(stems) // p.tokens


@dataclasses.dataclass(frozen=True)
class PrototypeConfig(PretrainConfig):
  """perception: the encoder. hidden, outputs: M and E of the projection. prototypes: K of them.

  visible: the most tokens of a step that a view of the student shows. views: of the student, for each of the teacher.
  """

  hidden: int
  outputs: int
  prototypes: int
  visible: int
  views: int

  def param_count(self) -> int:
    head = self.hidden * (self.perception.trunk.width + self.outputs) + self.outputs * self.prototypes
    return self.perception.param_count() + head

  def flops_per_token(self) -> int:
    """Forward and backward of every view of the student, forward of the teacher over all tokens."""
    p = self.perception
    head = 2 * (self.hidden * (p.trunk.width + self.outputs) + self.outputs * self.prototypes)
    student, teacher = p.forward_flops(self.visible) + head, p.forward_flops(p.trunk.space) + head
    return (3 * self.views * student + teacher) // p.tokens

  def stem_flops_per_token(self) -> int:
    """Of every view of the student; see MotionConfig."""
    return self.views * self.perception.stem_flops_per_token()
