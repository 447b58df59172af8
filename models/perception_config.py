"""The configuration of a perception model: its sensors and its trunk, counted without importing JAX."""

import dataclasses

from models.sensors_config import CameraConfig, EgoConfig, LidarConfig, RasterConfig
from models.trunk_config import TrunkConfig

# In the order of their tokens. Cameras are last: another number of them moves no other token.
SENSORS = ("ego", "raster", "lidar", "camera")


@dataclasses.dataclass(frozen=True)
class PerceptionConfig:
  """ego, raster, lidar, camera: what the rig has; None: it does not.

  tube: frames of a step of the trunk: a clip has tube * trunk.steps of them.
  """

  ego: EgoConfig | None
  raster: RasterConfig | None
  lidar: LidarConfig | None
  camera: CameraConfig | None
  tube: int
  trunk: TrunkConfig

  def __post_init__(self):
    if sum(sensor.places for sensor in self.sensors.values()) != self.trunk.space or not self.sensors:
      places = ", ".join(f"{name} {sensor.places}" for name, sensor in self.sensors.items())
      raise ValueError(f"trunk.space is {self.trunk.space}, not the sum of the sensors' tokens: {places}")

  @property
  def sensors(self) -> dict:
    """Name to configuration of those that the rig has, in the order of their tokens."""
    return {name: getattr(self, name) for name in SENSORS if getattr(self, name) is not None}

  @property
  def slices(self) -> dict[str, slice]:
    """Where along S the tokens of each sensor are."""
    found, start = {}, 0
    for name, sensor in self.sensors.items():
      found[name] = slice(start, start + sensor.places)
      start += sensor.places
    return found

  @property
  def tokens(self) -> int:
    """T S: of a clip."""
    return self.trunk.steps * self.trunk.space

  def param_count(self) -> int:
    sensors = sum(sensor.param_count(self.trunk.width, self.tube) for sensor in self.sensors.values())
    return sensors + self.trunk.param_count()

  def non_embedding_params(self) -> int:
    """N: without the embeddings of places."""
    grids = [sensor.places for sensor in (self.raster, self.lidar) if sensor is not None]
    return self.param_count() - self.trunk.width * sum(grids)

  def flops_per_token(self) -> int:
    """Training FLOPs per token of the trunk, the encoders' share included; see TrunkConfig."""
    return self.trunk.flops_per_token() + 3 * self._sensor_flops() // self.tokens

  def stem_flops_per_token(self) -> int:
    """Forward FLOPs per token of products whose input needs no gradient; see MotionConfig."""
    width, steps = self.trunk.width, self.trunk.steps
    stems = (sensor.stem_flops_per_clip(width, self.tube, steps) for sensor in self.sensors.values())
    return self.trunk.stem_flops_per_token() + sum(stems) // self.tokens

  def forward_flops(self, tokens: int) -> int:
    """Forward, of a clip: all sensors are encoded, the trunk sees so many tokens of each step."""
    mixed = dataclasses.replace(self.trunk, space=tokens)
    return self._sensor_flops() + self.trunk.steps * tokens * (mixed.flops_per_token() // 3)

  def _sensor_flops(self) -> int:
    width, steps = self.trunk.width, self.trunk.steps
    return sum(sensor.flops_per_clip(width, self.tube, steps) for sensor in self.sensors.values())


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
  """What models have in common that train a perception model and throw the rest away. perception: what is kept."""

  perception: PerceptionConfig

  @property
  def dtype(self) -> str:
    return self.perception.trunk.dtype

  def non_embedding_params(self) -> int:
    """N of what is kept."""
    return self.perception.non_embedding_params()

  def stem_flops_per_token(self) -> int:
    """Forward FLOPs per token of products whose input needs no gradient; see MotionConfig."""
    return self.perception.stem_flops_per_token()
