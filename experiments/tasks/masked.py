"""Masked reconstruction of whatever sensors a rig has."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from data.records import RecordConfig
from experiments.config import Train
from experiments.task import Task
from experiments.tasks import perception
from models.masked_autoencoder import MaskedAutoencoder
from models.masked_config import MaskedConfig
from models.perception_config import PerceptionConfig
from models.sensors import patches
from models.sensors_config import GridConfig
from objectives import masked as objective
from objectives import masks


def masked(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """The ego's state is seen, never hidden; its record's other arrays are what is told."""
  clip = perception.clip_config(config, dataset_config)
  encoder = perception.perception_config(config.model, clip)
  model = MaskedAutoencoder(MaskedConfig(encoder, config.loss.decoder_layers, config.loss.ratio))
  hide = _hide(encoder, config)
  loss_fn = objective.make_loss(model.apply, hide, _targets(encoder, config.loss.standardise), domains)

  def init(key, batch):
    return model.init(key, batch, jnp.zeros_like)

  fields = (*perception.sensor_fields(encoder, clip), "domain")
  return Task(
    model, init, loss_fn, loss_fn, fields, perception.clip_batch(fields, encoder, clip),
    embed=perception.embedding(encoder, lambda params: params["encoder"]),
    tokens=model.config.tokens,
  )  # fmt: skip


def _hide(encoder: PerceptionConfig, config: Train) -> Callable:
  """(key, valid_BxTxS) -> hidden_BxTxS, each sensor by itself: a plane for every camera, one for the ground."""
  grids = {}
  for name, sensor in (("raster", encoder.raster), ("lidar", encoder.lidar)):
    if sensor:
      edge = sensor.grid.cells // sensor.grid.patch
      grids[name] = (1, edge, edge)
  if camera := encoder.camera:
    grids["camera"] = (camera.cameras, camera.height // camera.patch, camera.width // camera.patch)

  def hide(key: jax.Array, valid_BxTxS: jax.Array) -> jax.Array:
    hidden_BxTxS = jnp.zeros_like(valid_BxTxS)
    for index, (name, grid) in enumerate(grids.items()):
      part, loss = encoder.slices[name], config.loss
      among = jax.random.fold_in(key, index), valid_BxTxS[:, :, part]
      hidden_BxTxS = hidden_BxTxS.at[:, :, part].set(
        masks.hide(*among, loss.ratio, grid, loss.block, loss.tube)
      )
    return hidden_BxTxS

  return hide


def _targets(encoder: PerceptionConfig, standardise: bool) -> dict[str, tuple[Callable, Callable]]:
  """Sensor to (batch -> what its tokens show, the error of a prediction)."""
  tube, targets = encoder.tube, {}
  if raster := encoder.raster:

    def cells(batch):
      zeros = jnp.asarray(raster.zeros, jnp.float32)[None, None, None, None]
      x = (batch["raster_BxTxHxWxC"].astype(jnp.float32) - zeros) / (255 - zeros)
      return patches(x, raster.grid.patch, tube)

    targets["raster"] = cells, objective.squared_error
  if lidar := encoder.lidar:

    def pillars(batch):
      points, echo = (batch[name][:, tube - 1 :: tube] for name in ("points_BxTxPx4", "echo_BxTxP"))
      return _pillars(points, echo, lidar.grid)

    targets["lidar"] = pillars, objective.pillar_error
  if camera := encoder.camera:

    def pixels(batch):
      images = batch["images_BxTxCxHxWx3"]
      b, t, c, h, w, _ = images.shape
      x = patches(images.swapaxes(1, 2).reshape(b * c, t, h, w, 3), camera.patch, tube)
      x = x.reshape(b, c, t // tube, -1, x.shape[-1]).swapaxes(1, 2).reshape(b, t // tube, -1, x.shape[-1])
      return objective.standardised(x) if standardise else x.astype(jnp.float32) / 127.5 - 1

    targets["camera"] = pixels, objective.squared_error
  return targets


def _pillars(points_BxTxPx4: jax.Array, echo_BxTxP: jax.Array, grid: GridConfig) -> jax.Array:
  """Statistics of each token's points. The grid is moved to lie around the origin, as they want it."""
  half_m = grid.cells * grid.cell_m / 2
  shift = jnp.asarray([grid.rear_m - half_m, 0.0, 0.0, 0.0], jnp.float32)
  points = points_BxTxPx4.astype(jnp.float32) + shift[None, None, None]
  return objective.pillar_statistics(points, echo_BxTxP, grid.cells // grid.patch, half_m)
