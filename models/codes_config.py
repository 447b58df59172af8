"""The configuration of a world model over frames of discrete codes: counted without importing JAX."""

import dataclasses

from models.trunk_config import TrunkConfig


@dataclasses.dataclass(frozen=True)
class CodesConfig:
  """The shape of a model of frames of codes, and what it costs.

  Attributes:
  codes: V, the codebook's vocabulary. actions: symbols of the ego's action, 1 where there is none to see.
  past: trunk over the frames before, of an action and S codes each: causal, with space S + 1.
  frame: trunk over one frame, read place after place: causal, with S steps of one token each.
  """

  codes: int
  actions: int
  past: TrunkConfig
  frame: TrunkConfig

  def __post_init__(self):
    if not (self.past.causal and self.frame.causal):
      raise ValueError("past and frame must be causal")
    if (self.frame.space, self.past.space, self.past.width) != (1, self.places + 1, self.frame.width):
      raise ValueError(
        f"past has space {self.past.space} and width {self.past.width}, frame space {self.frame.space} and width"
        f" {self.frame.width}, not S + 1, D, 1 and D with S = {self.places} steps of frame"
      )

  @property
  def places(self) -> int:
    """S."""
    return self.frame.steps

  @property
  def width(self) -> int:
    return self.frame.width

  @property
  def dtype(self) -> str:
    return self.frame.dtype

  @property
  def rows(self) -> int:
    """Rows of a code table: the vocabulary, rounded up so that any mesh divides it."""
    return -(-self.codes // 64) * 64

  def non_embedding_params(self) -> int:
    """N: both trunks and the start; without the tables of codes, actions and places and the output head."""
    return self.past.param_count() + self.frame.param_count() + self.width

  def param_count(self) -> int:
    tables = 2 * self.rows + self.actions + self.places + 1
    return self.non_embedding_params() + self.width * tables + self.rows

  def flops_per_token(self) -> int:
    """Training FLOPs per code: both trunks, the action's share of the past, and the head."""
    past = self.past.flops_per_token() * (self.places + 1) // self.places
    return past + self.frame.flops_per_token() + 3 * 2 * self.width * self.rows

  def stem_flops_per_token(self) -> int:
    """None: codes are looked up; see MotionConfig."""
    return 0
