"""The configuration of a learned tokeniser of bird's-eye views: counted without importing JAX."""

import dataclasses
import math

from models.trunk_config import TrunkConfig


@dataclasses.dataclass(frozen=True)
class BevTokeniserConfig:
  """The shape of a tokeniser, and what it costs.

  Attributes:
  grid: cells along each side of a frame. patch: cells along each side of what one code stands for.
  classes: of a cell.
  levels: of the channels of a code, for finite scalar quantisation; () for a learned codebook.
  codes, code_dim: K and E of that codebook; 0 where there are levels.
  trunk: of the encoder, and of the decoder: one step of (grid / patch)^2 places that all see each other.
  """

  grid: int
  patch: int
  classes: int
  levels: tuple[int, ...]
  codes: int
  code_dim: int
  trunk: TrunkConfig

  def __post_init__(self):
    if self.grid % self.patch or (self.trunk.steps, self.trunk.space) != (1, self.places):
      raise ValueError(
        f"trunk has {self.trunk.steps} steps of {self.trunk.space} places, not 1 of ({self.grid} / {self.patch})^2"
      )
    if bool(self.levels) == bool(self.codes) or bool(self.codes) != bool(self.code_dim):
      raise ValueError("give either levels, or codes and code_dim")
    if any(level < 2 for level in self.levels):
      raise ValueError(f"levels {self.levels} must be 2 or more")

  @property
  def places(self) -> int:
    """S: codes of a frame, its tokens."""
    return (self.grid // self.patch) ** 2

  @property
  def vocabulary(self) -> int:
    return math.prod(self.levels) if self.levels else self.codes

  @property
  def channels(self) -> int:
    """E: of a code."""
    return len(self.levels) or self.code_dim

  @property
  def width(self) -> int:
    return self.trunk.width

  @property
  def dtype(self) -> str:
    return self.trunk.dtype

  def param_count(self) -> int:
    """The learned codebook, with its moving averages, included."""
    return self.non_embedding_params() + 2 * self.places * self.width + self.codes * (2 * self.code_dim + 1)

  def non_embedding_params(self) -> int:
    """N: without the embeddings of places and the codebook."""
    patch = 2 * self.patch**2 * self.classes * self.width
    return patch + 2 * self.width * self.channels + 2 * self.trunk.param_count()

  def flops_per_token(self) -> int:
    """Training FLOPs per cell, three forward passes as in MotionConfig: 2 per multiply-add in matmuls."""
    d, e = self.width, self.channels
    place = 4 * self.patch**2 * self.classes * d + 4 * d * e + 2 * self.codes * e
    return round((2 * self.trunk.flops_per_token() + 3 * place) / self.patch**2)

  def stem_flops_per_token(self) -> int:
    """What training takes less than that: one product of the patches' two backward, both of the distances to codes."""
    return round(2 * self.classes * self.width + 4 * self.codes * self.channels / self.patch**2)
