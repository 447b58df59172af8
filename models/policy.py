"""The driving model: sensors to tokens to answers; with the heads "plan" and "actions" an end-to-end policy.

The trunk must be causal, or a step's plan would be read off the next one's sensors. Sensors to trajectory and
controls in one network: Y. Hu et al., UniAD, arXiv:2212.10156.
"""

import dataclasses

import flax.linen as nn

from models.geometry import token_places
from models.heads import Heads
from models.heads_config import HeadsConfig
from models.perception import PerceptionModel
from models.perception_config import PerceptionConfig


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
  """perception: sensors and trunk. heads: what is answered."""

  perception: PerceptionConfig
  heads: HeadsConfig

  def __post_init__(self):
    if self.perception.tube != 1 or not self.perception.trunk.causal:
      raise ValueError("heads answer for every frame without looking ahead: tube must be 1, the trunk causal")

  @property
  def dtype(self) -> str:
    return self.perception.trunk.dtype

  def param_count(self) -> int:
    return self.perception.param_count() + self.heads.param_count()

  def non_embedding_params(self) -> int:
    """N: the perception model's; heads are its output tables."""
    return self.perception.non_embedding_params()

  def flops_per_token(self) -> int:
    """Training FLOPs per token of the trunk, the heads' share included."""
    steps, space = self.perception.trunk.steps, self.perception.trunk.space
    return self.perception.flops_per_token() + 3 * self.heads.flops(space, steps) // (steps * space)

  def stem_flops_per_token(self) -> int:
    """Forward FLOPs per token of products whose input needs no gradient; see MotionConfig."""
    return self.perception.stem_flops_per_token() + self.heads.stem_flops() // self.perception.trunk.space


class PolicyModel(nn.Module):
  """apply({"params": p}, batch) -> answers (models/heads.py)."""

  config: PolicyConfig

  def setup(self):
    self.perception = PerceptionModel(self.config.perception)
    self.heads = Heads(self.config.heads)

  def __call__(self, batch):
    return self.heads(*self.perception(batch), token_places(self.config.perception), batch)

  def tokens(self, batch):
    """(x_BxTxSxD, valid_BxTxS), as of the perception model."""
    return self.perception(batch)
