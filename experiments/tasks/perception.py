"""What all tasks of the perception family share: the model that a clip dataset means, and its batches."""

from collections.abc import Callable

import jax
import numpy as np

from data.clips import EGO_STATES, RASTER_CHANNELS, VELOCITY_ZERO, ClipConfig
from data.errors import BadInput
from data.records import RecordConfig
from experiments.config import Train
from experiments.shapes import Perception
from experiments.task import batch_name, record_batch
from models.perception import ARRAYS, PerceptionModel, summary
from models.perception_config import PerceptionConfig
from models.sensors import patch_rays
from models.sensors_config import CameraConfig, EgoConfig, GridConfig, LidarConfig, RasterConfig
from models.trunk_config import TrunkConfig

_ZEROS = tuple(VELOCITY_ZERO if "velocity" in name else 0 for name in RASTER_CHANNELS)
EGO_SCALES = {
  "speed": 10.0,
  "yaw_rate": 0.5,
  "acceleration": 3.0,
  "lateral_acceleration": 3.0,
}  # large values


def clip_config(config: Train, dataset_config: RecordConfig) -> ClipConfig:
  """The dataset's, when it holds clips; else BadInput."""
  if not isinstance(dataset_config, ClipConfig):
    what = f"family {config.family} reads clips, the dataset holds {dataset_config.kind}"
    raise BadInput(what, "config.data.dataset", "render one with data.render")
  if config.data.blind_to:
    raise BadInput("clips have no ablation", "config.data.blind_to", 'set it to ""')
  return dataset_config


def perception_config(shape: Perception, clip: ClipConfig) -> PerceptionConfig:
  """The model of this shape for the rig and sizes of `clip`; BadInput when they do not fit."""
  if clip.steps % shape.tube:
    raise BadInput(
      f"clips of {clip.steps} frames have no tubes of {shape.tube}", "config.model.tube", "change it"
    )
  try:
    ego = EgoConfig(tuple(EGO_SCALES[name] for name in EGO_STATES)) if shape.ego else None
    raster = RasterConfig(_grid(shape.raster_patch, clip), _ZEROS) if shape.raster_patch else None
    lidar, camera = _lidar(shape, clip), _camera(shape, clip)
    places = sum(sensor.places for sensor in (ego, raster, lidar, camera) if sensor)
    trunk = TrunkConfig(
      shape.width, shape.layers, shape.head_dim, shape.mixing, shape.state, shape.chunk, shape.causal,
      clip.steps // shape.tube, places, shape.dtype, shape.scan, shape.remat,
    )  # fmt: skip
    return PerceptionConfig(ego, raster, lidar, camera, shape.tube, trunk)
  except ValueError as error:
    raise BadInput(str(error), "config.model", "choose other sizes, or another dataset") from None


def _grid(patch: int, clip: ClipConfig) -> GridConfig:
  return GridConfig(clip.grid, patch, clip.cell_m, clip.rear_m)


def _lidar(shape: Perception, clip: ClipConfig) -> LidarConfig | None:
  if not shape.lidar_patch or clip.lidar is None:
    return None
  return LidarConfig(_grid(shape.lidar_patch, clip), clip.points, shape.lidar_channels)


def _camera(shape: Perception, clip: ClipConfig) -> CameraConfig | None:
  if not shape.camera_patch or not clip.cameras:
    return None
  return CameraConfig(len(clip.cameras), clip.image_height, clip.image_width, shape.camera_patch)


def sensor_fields(config: PerceptionConfig, clip: ClipConfig) -> tuple[str, ...]:
  """The record arrays that its encoders read."""
  wanted = {array for name in config.sensors for array in ARRAYS[name]}
  return tuple(name for name in clip.spec if batch_name(name) in wanted)


def clip_batch(fields: tuple[str, ...], config: PerceptionConfig, clip: ClipConfig) -> Callable:
  """A `to_batch` of clips: their fields, "real_B" and, with cameras, the rays behind their patches."""
  rename = record_batch(fields)
  if config.camera is None:
    return rename
  rays = patch_rays(clip.rays_CxHxWx3, clip.origins_Cx3, config.camera.patch)

  def to_batch(stacked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    batch = rename(stacked)
    return batch | {"rays_BxCxSx6": np.broadcast_to(rays, (len(batch["real_B"]), *rays.shape))}

  return to_batch


def embedding(config: PerceptionConfig, encoder: Callable[[dict], dict]) -> Callable:
  """`Task.embed`: the mean of a clip's tokens; `encoder` finds the perception model among a task's parameters."""
  model = PerceptionModel(config)

  def embed(params: dict, batch: dict) -> jax.Array:
    return summary(*model.apply({"params": encoder(params)}, batch))

  return embed
