"""The trunk's configuration: it counts its own parameters and FLOPs, without importing JAX."""

import dataclasses

# What one scanned unit of a trunk mixes, block by block.
UNITS = {"full": ("full",), "factorised": ("space", "time")}


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
  """The shape of a trunk, and what it costs.

  Attributes:
  width: D. layers: blocks, each mixing + MLP. head_dim: K.
  mixing: "full": every block attends over all T S tokens of a clip. "factorised": blocks alternate between the S
    tokens of a step and the T steps of a place (A. Arnab et al., ViViT, arXiv:2103.15691).
  causal: no token depends on a later step. Within its step a token sees all others.
  steps, space: T and S, for counting FLOPs; the weights serve any.
  dtype: "float32" or "bfloat16" for matmuls. scan: one compiled unit for all layers.
  remat: "none", "dots" (keep matmul outputs) or "full" (recompute the unit).
  """

  width: int
  layers: int
  head_dim: int
  mixing: str
  causal: bool
  steps: int
  space: int
  dtype: str
  scan: bool
  remat: str

  def __post_init__(self):
    if self.mixing not in UNITS:
      raise ValueError(f"mixing is {self.mixing!r}, not one of {', '.join(UNITS)}")
    if self.width % self.head_dim or self.head_dim % 2:
      raise ValueError(f"width {self.width} must be a multiple of head_dim {self.head_dim} (even)")
    if self.layers < 1 or self.layers % len(self.unit):
      raise ValueError(
        f"layers {self.layers} must be a multiple of {len(self.unit)} for {self.mixing} mixing"
      )

  @property
  def heads(self) -> int:
    return self.width // self.head_dim

  @property
  def unit(self) -> tuple[str, ...]:
    return UNITS[self.mixing]

  def param_count(self) -> int:
    return self.layers * (12 * self.width**2 + 2 * self.width) + self.width

  def non_embedding_params(self) -> int:
    """N: all of it."""
    return self.param_count()

  def flops_per_token(self) -> int:
    """Training FLOPs per token: 2 per multiply-add in matmuls, backward twice the forward.

    Per block 8 D^2 for projections, 16 D^2 for the MLP, 4 D for each key: scores and values count all keys of
    the axis, as they are computed before masking.
    """
    keys = {"full": self.steps * self.space, "space": self.space, "time": self.steps}
    units = self.layers // len(self.unit)
    return 3 * units * sum(24 * self.width**2 + 4 * self.width * keys[over] for over in self.unit)
