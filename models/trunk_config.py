"""The trunk's configuration: it counts its own parameters and FLOPs, without importing JAX."""

import dataclasses

# The blocks of one scanned unit: along which tokens each mixes, and how.
UNITS = {
  "full": (("clip", "attention"),),
  "factorised": (("space", "attention"), ("time", "attention")),
  "state_space": (("clip", "recurrence"),),
  "hybrid": (("space", "attention"), ("time", "recurrence")),
}


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
  """The shape of a trunk, and what it costs.

  Attributes:
  width: D. layers: blocks, each mixing + MLP. head_dim: K.
  mixing: "full": every block attends over all T S tokens of a clip. "factorised": blocks alternate between the S
    tokens of a step and the T steps of a place (A. Arnab et al., ViViT, arXiv:2103.15691). "state_space": every
    block is a recurrence over all tokens, step by step and place by place (models/state_space.py). "hybrid": as
    factorised, with the recurrence over time instead of attention.
  state, chunk: R of each head's state and Q tokens per chunk of it, where mixing is recurrent; else 0.
  causal: no token depends on a later step; a recurrence must be. Within its step a token sees all others, or in
    "state_space" those before it.
  steps, space: T and S, for counting FLOPs; the weights serve any.
  dtype: "float32" or "bfloat16" for matmuls. scan: one compiled unit for all layers.
  remat: "none", "dots" (keep matmul outputs) or "full" (recompute the unit).
  block: queries that attention takes at a time, as longer sequences need (models/layers.py, `attend`); 0: all.
  adapter, prefix: hidden units of the adapters after each branch, learned keys before each attention; 0: none.
  heads, hidden: heads of what mixes in each block, hidden units of each MLP, as pruning leaves them; 0: width /
    head_dim, and 4 width.
  """

  width: int
  layers: int
  head_dim: int
  mixing: str
  state: int
  chunk: int
  causal: bool
  steps: int
  space: int
  dtype: str
  scan: bool
  remat: str
  block: int
  adapter: int
  prefix: int
  heads: int
  hidden: int

  def __post_init__(self):
    if self.mixing not in UNITS:
      raise ValueError(f"mixing is {self.mixing!r}, not one of {', '.join(UNITS)}")
    if (not self.heads and self.width % self.head_dim) or self.head_dim % 2:
      raise ValueError(f"width {self.width} must be a multiple of head_dim {self.head_dim} (even)")
    if self.layers < 1 or self.layers % len(self.unit):
      raise ValueError(
        f"layers {self.layers} must be a multiple of {len(self.unit)} for {self.mixing} mixing"
      )
    sizes = (self.state > 0, self.chunk > 0)
    if sizes != (self.recurrent, self.recurrent) or (self.recurrent and not self.causal):
      raise ValueError(
        f"{self.mixing} mixing with state {self.state}, chunk {self.chunk}, causal {self.causal}: a recurrence "
        f"has a state and chunks and is causal, attention has neither"
      )

  @property
  def recurrent(self) -> bool:
    return any(how == "recurrence" for _, how in self.unit)

  @property
  def head_count(self) -> int:
    return self.heads or self.width // self.head_dim

  @property
  def mlp_units(self) -> int:
    return self.hidden or 4 * self.width

  @property
  def unit(self) -> tuple[tuple[str, str], ...]:
    return UNITS[self.mixing]

  def param_count(self) -> int:
    d, r, h = self.width, self.state, self.head_count
    inner = h * self.head_dim
    mixing = {
      "attention": inner * (4 * d + 2 * self.prefix),
      "recurrence": 3 * d * inner + 2 * d * r + d * h + 3 * h + self.head_dim,
    }
    unit = sum(mixing[how] + 2 * d * self.mlp_units + 2 * d + 4 * d * self.adapter for _, how in self.unit)
    return self.layers // len(self.unit) * unit + d

  def non_embedding_params(self) -> int:
    """N: all of it."""
    return self.param_count()

  def flops_per_token(self) -> int:
    """Training FLOPs per token, three forward passes as in MotionConfig: 2 per multiply-add in matmuls.

    Per block 4 D M for the MLP of M units, and what mixes, with E = H K, which is D unless heads were pruned.
    Attention: 8 D E for projections, 4 E for each key: scores and values count all keys of the axis, as they are
    computed before masking. Recurrence: 6 D E + 4 D R + 2 D H for projections, 2 Q (R + E) + 4 E R for each token of
    the chunks that hold the sequence.
    """
    d, r, q = self.width, self.state, self.chunk
    h, inner = self.head_count, self.head_count * self.head_dim
    forward = 0
    for along, how in self.unit:
      length = {"clip": self.steps * self.space, "space": self.space, "time": self.steps}[along]
      if how == "attention":
        forward += inner * (8 * d + 4 * (length + self.prefix))
      else:
        filled = -(-length // q) * q
        forward += 6 * d * inner + 4 * d * r + 2 * d * h
        forward += filled * (2 * q * (r + inner) + 4 * inner * r) // length
      forward += 4 * d * self.mlp_units + 8 * d * self.adapter
    return 3 * self.layers // len(self.unit) * forward

  def stem_flops_per_token(self) -> int:
    """None: the first norm's scale asks for the gradient of what the first products read; see MotionConfig."""
    return 0
