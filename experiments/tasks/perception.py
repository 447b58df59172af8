"""What every objective of the perception family shares: the model's configuration, and batches of clips."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.clips import RASTER_CHANNELS, VELOCITY_ZERO, ClipConfig
from data.errors import BadInput
from data.records import RecordConfig
from experiments.config import Train
from experiments.losses import Hiding, Predictor
from experiments.shapes import Perception
from experiments.task import Task, record_batch
from experiments.tasks.trunks import trunk_config
from models.perception_config import SENSORS, PerceptionConfig
from models.sensors import patch_rays
from models.sensors_config import CameraConfig, EgoConfig, GridConfig, LidarConfig, RasterConfig
from models.trunk_config import TrunkConfig
from objectives import draws, masks

EGO_SCALES = (15.0, 0.5, 3.0, 3.0)  # of data.clips.EGO_STATES: m/s, rad/s, m/s^2, m/s^2
RASTER_ZEROS = tuple(VELOCITY_ZERO if name.startswith("velocity") else 0 for name in RASTER_CHANNELS)
_ARRAYS = {
  "ego": ("ego_TxS",),
  "raster": ("raster_TxHxWxC",),
  "lidar": ("points_TxPx4", "echo_TxP"),
  "camera": ("images_TxCxHxWx3",),
}


def clip_config(dataset_config: RecordConfig) -> ClipConfig:
  """Raises BadInput when the dataset does not hold clips."""
  if not isinstance(dataset_config, ClipConfig):
    what = f"family perception reads clips, the dataset holds {dataset_config.kind}"
    raise BadInput(what, "config.data.dataset", "choose a dataset of clips, made by data.render")
  return dataset_config


def build(make: Callable, *args, **kwargs):
  """make(...), whose ValueError is an answer to the configuration."""
  try:
    return make(*args, **kwargs)
  except ValueError as error:
    raise BadInput(str(error), "config.model, config.loss", "correct it") from None


def perception_config(config: Train, clips: ClipConfig) -> PerceptionConfig:
  """The model of the named sensors of the dataset's rig; BadInput where the rig has no such sensor."""
  shape: Perception = config.model
  wanted = shape.sensors.split(",")
  there = {"ego": True, "raster": True, "lidar": clips.lidar is not None, "camera": bool(clips.cameras)}
  for name in wanted:
    if not there.get(name):
      known = ", ".join(sensor for sensor, present in there.items() if present)
      raise BadInput(f"rig {clips.rig} has no sensor {name!r}", "config.model.sensors", f"choose of {known}")
  grid = GridConfig(clips.grid, shape.grid_patch, clips.cell_m, clips.rear_m)
  sensors: dict[str, Any] = {
    "ego": EgoConfig(EGO_SCALES),
    "raster": RasterConfig(grid, RASTER_ZEROS),
    "lidar": LidarConfig(grid, clips.points, shape.lidar_channels),
    "camera": CameraConfig(len(clips.cameras), clips.image_height, clips.image_width, shape.camera_patch),
  }
  chosen = {name: sensors[name] if name in wanted else None for name in SENSORS}
  if clips.steps % shape.tube:
    raise BadInput(
      f"{clips.steps} frames are no whole tubes of {shape.tube}", "config.model.tube", "change it"
    )
  space = build(lambda: sum(sensor.places for sensor in chosen.values() if sensor is not None))
  trunk = build(trunk_config, config, clips.steps // shape.tube, space)
  return PerceptionConfig(**chosen, tube=shape.tube, trunk=trunk)


def fields(config: PerceptionConfig) -> tuple[str, ...]:
  """Arrays of a clip that the sensors read, and what losses slice and pair by."""
  return (*(array for name in config.sensors for array in _ARRAYS[name]), "scene", "domain")


def to_batch(config: PerceptionConfig, clips: ClipConfig) -> Callable:
  """Stacked clips to the model's batch: renamed, with the rig's rays beside the images."""
  rename = record_batch(fields(config))
  if config.camera is None:
    return rename
  rays_CxSx6 = patch_rays(clips.rays_CxHxWx3, clips.origins_Cx3, config.camera.patch)

  def with_rays(stacked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    batch = rename(stacked)
    rows = len(batch["real_B"])
    return batch | {"rays_BxCxSx6": np.broadcast_to(rays_CxSx6, (rows, *rays_CxSx6.shape)).copy()}

  return with_rays


def task(encoder: PerceptionConfig, clips: ClipConfig, drop: float, loss_fn: Callable, **parts: Any) -> Task:
  """A task that reads the encoder's sensors, and is held out by the loss that it is trained with.

  Args: drop: probability that a training clip lacks a sensor; held-out clips have all. parts: the other attributes of
  `Task`.
  """
  return Task(
    loss_fn=lacking(encoder, drop, loss_fn),
    held_out=loss_fn,
    fields=fields(encoder),
    to_batch=to_batch(encoder, clips),
    tokens=encoder.tokens,
    **parts,
  )


def grids(config: PerceptionConfig) -> tuple[tuple[int, int, int], ...]:
  """(planes, rows, columns) of the places of each sensor, for masks."""
  found = []
  for name, sensor in config.sensors.items():
    if name == "camera":
      found.append((sensor.cameras, sensor.height // sensor.patch, sensor.width // sensor.patch))
    else:
      edge = math.isqrt(sensor.places)
      found.append((1, edge, edge))
  return tuple(found)


def hider(config: PerceptionConfig, hide: Hiding) -> Callable:
  """(key, valid_BxTxS) -> bool [B, T, S]; BadInput for a mask that the trunk cannot follow through time."""
  if not hide.tube and any(along == "time" for along, _ in config.trunk.unit):
    what = f"{config.trunk.mixing} mixing follows places through time, and masks change from step to step"
    raise BadInput(what, "config.loss.hide.tube", "set it, or choose full or state_space mixing")
  where = grids(config)

  def mask(key, valid_BxTxS):
    return masks.hide_by_sensor(key, valid_BxTxS, where, hide.ratio, hide.block, hide.tube)

  return mask


def visible(config: PerceptionConfig, hide: Hiding) -> int:
  """The most tokens of a step that `hider` leaves."""
  places = [sensor.places for sensor in config.sensors.values()]
  return sum(masks.visible_slots(n, hide.ratio) if n > 1 else n for n in places)


def predictor_trunk(config: PerceptionConfig, shape: Predictor) -> TrunkConfig:
  """The encoder's trunk, but for its size, of which nothing was pruned."""
  return build(dataclasses.replace, config.trunk, heads=0, hidden=0, **dataclasses.asdict(shape))


def sensed(config: PerceptionConfig, batch: dict) -> jax.Array:
  """Bool [B, M]: which sensors each clip has, in the order of config.sensors; a LiDAR without an echo is none."""
  rows = batch["real_B"].shape[0]
  there_BxM = batch.get("sensed_BxM", jnp.ones((rows, len(config.sensors)), bool))
  if "lidar" not in config.sensors:
    return there_BxM
  is_lidar_M = jnp.asarray([name == "lidar" for name in config.sensors])
  return there_BxM & (~is_lidar_M[None] | batch["echo_BxTxP"].any((1, 2))[:, None])


def without(config: PerceptionConfig, name: str, batch: dict) -> dict:
  """The batch as a rig that lacks one sensor would give it: its arrays stay, and no model reads them."""
  if name not in config.sensors:
    raise BadInput(f"the model has no sensor {name!r}", "sensors", f"choose of {', '.join(config.sensors)}")
  other_M = jnp.asarray([sensor != name for sensor in config.sensors])
  return batch | {"sensed_BxM": sensed(config, batch) & other_M[None]}


def sensor_dropout(config: PerceptionConfig, rate: float) -> Callable:
  """(batch, key) -> batch in which every clip lacks sensors, each with probability `rate`, but never all.

  The key may be the loss's own: it is folded first.
  """

  def lose(batch: dict, key: jax.Array) -> dict:
    there_BxM = sensed(config, batch)
    lost_Bx1xM = draws.by_record(
      lambda own, there_Bx1xM: masks.drop_sensors(own, there_Bx1xM, (1,) * len(config.sensors), rate),
      draws.aside(key),
      batch,
      there_BxM[:, None],
    )
    return batch | {"sensed_BxM": there_BxM & ~lost_Bx1xM[:, 0]}

  return lose


def lacking(config: PerceptionConfig, rate: float, loss_fn: Callable) -> Callable:
  """The loss of batches whose clips lack sensors at random: what a model is trained with that any rig may carry."""
  if not rate:
    return loss_fn
  lose = sensor_dropout(config, rate)
  return lambda params, batch, key: loss_fn(params, lose(batch, key), key)


def steps(config: Train, tokens: int) -> int:
  """Steps of the whole run, of clips of so many tokens: what schedules of teachers are stretched over."""
  return math.ceil(config.tokens / (config.data.batch_windows * tokens))
