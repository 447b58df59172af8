"""What it takes to read tokens: counted without importing JAX."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ReadConfig:
  """width: D of the queries. context: E of the tokens that are read. head_dim: K. dtype: of matmuls."""

  width: int
  context: int
  head_dim: int
  dtype: str

  def __post_init__(self):
    if self.width % self.head_dim:
      raise ValueError(f"width {self.width} must be a multiple of head_dim {self.head_dim}")

  @property
  def heads(self) -> int:
    return self.width // self.head_dim

  def attention_params(self) -> int:
    return 2 * self.width**2 + 2 * self.width * self.context

  def param_count(self) -> int:
    return self.attention_params() + 8 * self.width**2 + 3 * self.width

  def attention_flops(self, queries: int, tokens: int) -> int:
    """Forward, 2 per multiply-add."""
    return 4 * self.width * (queries * self.width + tokens * self.context + queries * tokens)

  def flops(self, queries: int, tokens: int) -> int:
    return self.attention_flops(queries, tokens) + 16 * queries * self.width**2


def linear_params(inputs: int, outputs: int) -> int:
  """With a bias."""
  return (inputs + 1) * outputs
