"""Configurations of models that fill in what is hidden: they count themselves, without importing JAX.

The encoder sees K tokens of each step, the predictor all S places. FLOPs: 2 per multiply-add, backward twice the
forward, per token of a clip, hidden or not.
"""

import dataclasses

from models.perception_config import PretrainConfig
from models.trunk_config import TrunkConfig

PILLAR_VALUES = 6  # of a cell: occupied, log(1 + points), mean x, y, z, intensity


@dataclasses.dataclass(frozen=True)
class PredictorConfig(PretrainConfig):
  """perception: the encoder. predictor: the narrow trunk over all places. visible: K, the encoder's slots."""

  predictor: TrunkConfig
  visible: int

  def __post_init__(self):
    wide, narrow = self.perception.trunk, self.predictor
    if (narrow.steps, narrow.space) != (wide.steps, wide.space):
      raise ValueError(
        f"the predictor has {narrow.steps} steps of {narrow.space} places, the encoder {wide.steps} of {wide.space}"
      )
    if not 0 < self.visible <= wide.space:
      raise ValueError(f"{self.visible} visible tokens of {wide.space}")

  @property
  def heads(self) -> dict[str, tuple[int, int]]:
    """Name to (places of a step that it reads, values of each)."""
    raise NotImplementedError

  def param_count(self) -> int:
    width = self.predictor.width
    fill = width * (self.perception.trunk.width + 1 + self.predictor.space) + self.predictor.param_count()
    return self.perception.param_count() + fill + sum((width + 1) * n for _, n in self.heads.values())

  def flops_per_token(self) -> int:
    return 3 * self.forward() // self.perception.tokens

  def forward(self) -> int:
    """FLOPs of a clip: encoder over K tokens, predictor over S places, heads."""
    p, width = self.predictor, self.predictor.width
    down = self.visible * 2 * self.perception.trunk.width * width
    heads = sum(places * 2 * width * n for places, n in self.heads.values())
    mixed = p.steps * p.space * (p.flops_per_token() // 3)
    return self.perception.forward_flops(self.visible) + mixed + p.steps * (down + heads)


@dataclasses.dataclass(frozen=True)
class MaskedAutoencoderConfig(PredictorConfig):
  """Heads show what every sensor of more than one token sees."""

  @property
  def heads(self) -> dict[str, tuple[int, int]]:
    p, found = self.perception, {}
    if p.raster is not None:
      found["raster"] = (p.raster.places, len(p.raster.zeros) * p.tube * p.raster.grid.patch**2)
    if p.lidar is not None:
      found["lidar"] = (p.lidar.places, PILLAR_VALUES * p.lidar.grid.patch**2)
    if p.camera is not None:
      found["camera"] = (p.camera.places, 3 * p.tube * p.camera.patch**2)
    return found


@dataclasses.dataclass(frozen=True)
class JointEmbeddingConfig(PredictorConfig):
  """One head gives the encoder's width. The teacher runs forward over all tokens, and is counted."""

  @property
  def heads(self) -> dict[str, tuple[int, int]]:
    return {"embedding": (self.predictor.space, self.perception.trunk.width)}

  def flops_per_token(self) -> int:
    teacher = self.perception.forward_flops(self.predictor.space)
    return (3 * self.forward() + teacher) // self.perception.tokens
