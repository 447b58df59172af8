"""Perception with masked reconstruction: what the sensors saw where tokens were hidden."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from data.records import RecordConfig
from experiments.config import Train
from experiments.task import Task
from experiments.tasks import perception
from models.masked_autoencoder import MaskedAutoencoder
from models.perception_config import PerceptionConfig
from models.predictor_config import PILLAR_VALUES, MaskedAutoencoderConfig
from models.sensors import patches, point_features
from models.sensors_config import LidarConfig
from objectives import masked as objective


def masked(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  clips = perception.clip_config(dataset_config)
  encoder = perception.perception_config(config, clips)
  loss = config.loss
  model = MaskedAutoencoder(
    perception.build(
      MaskedAutoencoderConfig,
      encoder,
      perception.predictor_trunk(encoder, loss.predictor),
      perception.visible(encoder, loss.hide),
    )
  )
  hide = perception.hider(encoder, loss.hide)
  return perception.task(
    encoder,
    clips,
    drop=loss.drop,
    model=model,
    init=lambda key, batch: model.init(key, batch, jnp.zeros_like),
    loss_fn=objective.make_loss(model.apply, hide, targets(encoder, loss.standardise), domains),
    embed=lambda params, batch: model.apply({"params": params}, batch, method="embed"),
  )


def targets(config: PerceptionConfig, standardise: bool) -> dict[str, tuple[Callable, Callable]]:
  """{sensor: (batch -> [B, T, S, P], (prediction, target) -> error per token)}, patched as the encoder patches."""
  look = objective.standardised if standardise else lambda x: x
  found: dict[str, tuple[Callable, Callable]] = {}
  if config.raster is not None:
    grid = config.raster.grid

    def raster(batch):
      return look(patches(batch["raster_BxTxHxWxC"].astype(jnp.float32) / 255, grid.patch, config.tube))

    found["raster"] = raster, objective.squared_error
  if config.camera is not None:
    edge = config.camera.patch

    def camera(batch):
      images = batch["images_BxTxCxHxWx3"].astype(jnp.float32) / 255
      by_camera = jax.vmap(lambda x: patches(x, edge, config.tube), in_axes=2, out_axes=2)(images)
      return look(by_camera.reshape(*by_camera.shape[:2], -1, by_camera.shape[-1]))

    found["camera"] = camera, objective.squared_error
  if config.lidar is not None:
    lidar = config.lidar
    found["lidar"] = (lambda batch: _pillars(batch, lidar, config.tube)), _pillar_error
  return found


def _pillars(batch, config: LidarConfig, tube: int):
  """Statistics of the cells of each patch: offsets from their centres, height over 3 m, intensity."""
  grid = config.grid
  points, echo = (batch[name][:, tube - 1 :: tube] for name in ("points_BxTxPx4", "echo_BxTxP"))
  b, t, p, _ = points.shape

  points = points.reshape(b * t, p, 4).astype(jnp.float32)
  cell_NxP, features_NxPx9, _ = point_features(points, echo.reshape(b * t, p), grid)
  values = jnp.concatenate([features_NxPx9[..., 7:9], features_NxPx9[..., 2:4]], axis=-1)
  found = jax.vmap(lambda cell_P, own: objective.pillar_statistics(cell_P, own, grid.cells**2))(
    cell_NxP, values
  )
  return patches(found.reshape(b, t, grid.cells, grid.cells, PILLAR_VALUES), grid.patch, 1)


def _pillar_error(prediction, target):
  """The mean over the cells of a patch."""
  shape = (*target.shape[:-1], -1, PILLAR_VALUES)
  return objective.pillar_error(prediction.reshape(shape), target.reshape(shape)).mean(-1)
