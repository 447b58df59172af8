"""The denoiser's configuration: it counts its own parameters and FLOPs, without importing JAX."""

import dataclasses

from models.perception_config import PerceptionConfig
from models.reading_config import ReadConfig, linear_params
from models.sensors_config import GridConfig

TIME_BANDS = 6  # octaves of sines and cosines of the time


@dataclasses.dataclass(frozen=True)
class DenoiserConfig:
  """The shape of a denoiser, and what it costs.

  Attributes:
  layers: blocks. tokens, channels: what is denoised, [tokens, channels]. read: of the context; scan: one block.
  grid: whose patches the tokens are, which then read near themselves first; None: they are of no place.
  """

  layers: int
  tokens: int
  channels: int
  read: ReadConfig
  scan: bool
  grid: GridConfig | None

  def __post_init__(self):
    if self.grid is not None and self.grid.places != self.tokens:
      raise ValueError(f"{self.tokens} tokens are no grid of {self.grid.places} patches")

  @property
  def around(self) -> bool:
    """Whether tokens are too narrow for the noise of what they stand for."""
    return self.channels > self.read.width

  def param_count(self) -> int:
    d = self.read.width
    reaches = self.read.heads if self.grid is not None else 0
    block = 4 * d**2 + self.read.attention_params() + 8 * d**2 + 9 * d**2 + 3 * d + reaches
    ends = (
      linear_params(self.channels, d) + linear_params(d, self.channels) + linear_params(2 * TIME_BANDS, d)
    )
    around = linear_params(d, 1) if self.around else 0
    return self.layers * block + ends + around + self.tokens * d + d

  def flops(self, context: int) -> int:
    """Forward, of one sample that reads so many tokens: 2 per multiply-add."""
    d, n = self.read.width, self.tokens
    mixing = n * (8 * d**2 + 4 * d * n) + self.read.attention_flops(n, context)
    block = mixing + 16 * n * d**2 + 18 * d**2
    ends = 2 * n * d * self.channels + (2 * d if self.around else 0)
    return self.layers * block + ends + self.stem_flops()

  def stem_flops(self) -> int:
    """Forward, of one sample: the products that read noisy numbers and the time."""
    return 2 * self.tokens * self.read.width * self.channels + 4 * TIME_BANDS * self.read.width


@dataclasses.dataclass(frozen=True)
class ConditionalConfig:
  """perception: sensors and trunk, the context. denoiser: of what comes next at every step of a clip.

  skipped: the last steps, of which nothing is known that comes next.
  """

  perception: PerceptionConfig
  denoiser: DenoiserConfig
  skipped: int

  def __post_init__(self):
    if self.perception.tube != 1 or not self.perception.trunk.causal:
      raise ValueError("a denoiser answers for every frame without looking ahead: tube 1, a causal trunk")
    if self.skipped >= self.perception.trunk.steps:
      raise ValueError(f"clips of {self.perception.trunk.steps} steps have nothing to predict")

  @property
  def dtype(self) -> str:
    return self.perception.trunk.dtype

  def param_count(self) -> int:
    return self.perception.param_count() + self.denoiser.param_count()

  def non_embedding_params(self) -> int:
    d = self.denoiser
    tables = d.read.width * (d.tokens + d.channels) + d.channels
    return self.perception.non_embedding_params() + d.param_count() - tables

  def flops_per_token(self) -> int:
    """Training FLOPs per token of the trunk, the denoiser's share included."""
    trunk = self.perception.trunk
    denoised = 3 * (trunk.steps - self.skipped) * self.denoiser.flops(trunk.space)
    return self.perception.flops_per_token() + denoised // (trunk.steps * trunk.space)

  def stem_flops_per_token(self) -> int:
    """Forward FLOPs per token of products whose input needs no gradient; see MotionConfig."""
    trunk = self.perception.trunk
    denoised = (trunk.steps - self.skipped) * self.denoiser.stem_flops()
    return self.perception.stem_flops_per_token() + denoised // (trunk.steps * trunk.space)
