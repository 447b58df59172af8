"""The motion model's configuration: it counts its own parameters and FLOPs, without importing JAX."""

import dataclasses

AGENT_TYPES = 8  # data.schema.AgentType


@dataclasses.dataclass(frozen=True)
class MotionConfig:
  """The shape of a model, and what it costs.

  Attributes:
  width: D. layers: attention + MLP blocks, even: time and agents alternate. head_dim: K.
  factors: a move is a pair of symbols, (accelerations, yaw rates); V is their product.
  features: F inputs per position. steps, agents: window shape, for counting FLOPs.
  dtype: "float32" or "bfloat16" for matmuls. scan: one compiled block for all layers.
  remat: "none", "dots" (keep matmul outputs) or "full" (recompute the block).
  adapter, prefix: hidden units of the adapters after each branch, learned keys before each attention; 0: none.
  heads, hidden: attention heads of each block, hidden units of each MLP, the stem's included, as pruning leaves them;
    0: width / head_dim, and 4 width.
  """

  width: int
  layers: int
  head_dim: int
  factors: tuple[int, int]
  features: int
  steps: int
  agents: int
  dtype: str
  scan: bool
  remat: str
  adapter: int
  prefix: int
  heads: int
  hidden: int

  def __post_init__(self):
    uneven = not self.heads and self.width % self.head_dim
    if uneven or self.head_dim % 2 or self.layers % 2 or self.layers < 2:
      raise ValueError(
        f"width {self.width} must be a multiple of head_dim {self.head_dim} (even), layers {self.layers} even"
      )

  @property
  def head_count(self) -> int:
    return self.heads or self.width // self.head_dim

  @property
  def mlp_units(self) -> int:
    return self.hidden or 4 * self.width

  @property
  def attended(self) -> int:
    """H K: numbers in the queries of a position."""
    return self.head_count * self.head_dim

  @property
  def vocabulary(self) -> int:
    return self.factors[0] * self.factors[1]

  @property
  def rows(self) -> int:
    """Rows of a move table: vocabulary plus "no move", rounded up so that any mesh divides it."""
    return -(-(self.vocabulary + 1) // 64) * 64

  def non_embedding_params(self) -> int:
    """N: stem, blocks and norms; without the move and type embeddings and the output head."""
    d, units = self.width, self.mlp_units
    stem = units * (self.features + 1 + d)
    attention = self.attended * (4 * d + 2 * self.prefix)
    block = attention + 2 * units * d + 2 * d + 4 * d * self.adapter
    return stem + self.layers * block + d

  def param_count(self) -> int:
    tables = 3 * (self.rows + sum(self.factors)) + AGENT_TYPES
    return self.non_embedding_params() + self.width * tables + self.rows + sum(self.factors)

  def flops_per_token(self) -> int:
    """Training FLOPs per position as the field counts them: three forward passes, 2 per multiply-add in matmuls.

    Backward is taken as twice the forward: one product for the weights' gradient, one for the input's (J. Kaplan et
    al., arXiv:2001.08361; J. Hoffmann et al., arXiv:2203.15556). Run tables and ladders are counted so. What a step
    multiplies is less by `stem_flops_per_token`: the first products read data, which have no gradient.

    Attention scores and values count all keys of the axis, as they are computed before masking.
    """
    d, units, attended = self.width, self.mlp_units, self.attended
    # Per pair of layers 4 H K keys, halved per layer.
    attention = attended * (8 * d + 2 * (self.steps + self.agents) + 4 * self.prefix)
    stem = 2 * units * (self.features + d)
    forward = stem + self.layers * (attention + 4 * d * units + 8 * d * self.adapter) + 2 * d * self.rows
    return 3 * forward

  def stem_flops_per_token(self) -> int:
    """Forward FLOPs of products whose input needs no gradient, as it is data: their backward is one product, not two.

    The compiled gradient by the parameters takes flops_per_token() - stem_flops_per_token().
    """
    return 2 * self.mlp_units * self.features
