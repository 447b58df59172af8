"""Small generated inputs of perception models, shared by tests: configurations, batches of random sensors."""

from collections.abc import Iterable

import numpy as np

from models.perception_config import PerceptionConfig
from models.sensors_config import CameraConfig, EgoConfig, GridConfig, LidarConfig, RasterConfig
from models.trunk_config import TrunkConfig

GRID = GridConfig(cells=8, patch=4, cell_m=2.0, rear_m=4.0)
SENSORS = {
  "ego": EgoConfig((10.0, 0.5, 3.0)),
  "raster": RasterConfig(GRID, (0, 0, 128)),
  "lidar": LidarConfig(GRID, 12, 8),
  "camera": CameraConfig(2, 8, 16, 8),
}


def perception_config(mixing: str, sensors: Iterable[str], tube: int, **trunk) -> PerceptionConfig:
  """A model of the named sensors, over clips of two tubes; `trunk` overrides fields of its trunk."""
  space = sum(SENSORS[name].places for name in sensors)
  shape = dict(
    width=16, layers=2, head_dim=8, mixing=mixing, state=0, chunk=0, causal=True, steps=2, space=space,
    dtype="float32", scan=False, remat="none", block=0, adapter=0, prefix=0, heads=0, hidden=0,
  )  # fmt: skip
  here = {name: SENSORS[name] if name in sensors else None for name in SENSORS}
  return PerceptionConfig(**here, tube=tube, trunk=TrunkConfig(**(shape | trunk)))


def sensor_batch(config: PerceptionConfig, batch: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
  """Every array that the sensors of the configuration read."""
  rng = np.random.default_rng(seed)
  frames, found = (batch, config.tube * config.trunk.steps), {}
  if config.ego is not None:
    found["ego_BxTxS"] = rng.normal(size=(*frames, len(config.ego.scales))).astype(np.float32)
  if config.raster is not None:
    cells, channels = config.raster.grid.cells, len(config.raster.zeros)
    found["raster_BxTxHxWxC"] = rng.integers(0, 256, (*frames, cells, cells, channels)).astype(np.uint8)
  if config.lidar is not None:
    found["points_BxTxPx4"] = rng.uniform(-5, 9, (*frames, config.lidar.points, 4)).astype(np.float16)
    found["echo_BxTxP"] = rng.random((*frames, config.lidar.points)) < 0.9
  if config.camera is not None:
    c = config.camera
    pixels = (*frames, c.cameras, c.height, c.width, 3)
    found["images_BxTxCxHxWx3"] = rng.integers(0, 256, pixels).astype(np.uint8)
    found["rays_BxCxSx6"] = rng.normal(size=(batch, c.cameras, c.patches, 6)).astype(np.float32)
  return found
