"""Encoders of sensors: arrays of a batch of clips to tokens [B, T, S, D] and valid [B, T, S].

Inputs are scaled by constants of the sensor, never by statistics of a batch or a data set, so that weights that
were trained on different rigs mean the same and can be averaged. Camera patches learn where they look from the
rays behind them, so that the same weights serve any number of cameras, anywhere; cells of a grid around the ego
are the same for every rig and have an embedding each.

A step of the trunk is a tube of frames: images and rasters are cut into patches that last a whole tube (tubelets,
A. Arnab et al., ViViT, arXiv:2103.15691), sweeps and the ego's state are those of its last frame.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models.layers import gelu, weight
from models.sensors_config import (
  RAY,
  RAY_BANDS,
  CameraConfig,
  EgoConfig,
  GridConfig,
  LidarConfig,
  RasterConfig,
)

RAY_SCALE_M = 4.0  # origins of rays lie within a vehicle
PLACE_DEVIATION = 0.1  # of embeddings of places at first, beside tokens of deviation 1
HEIGHT_SCALE_M = 3.0  # of what LiDAR sees of traffic


def patches(x_BxTxHxWxC: jax.Array, patch: int, tube: int) -> jax.Array:
  """Tubelets [B, T / tube, (H / patch) (W / patch), tube patch^2 C], row by row."""
  b, t, h, w, c = x_BxTxHxWxC.shape
  x = x_BxTxHxWxC.reshape(b, t // tube, tube, h // patch, patch, w // patch, patch, c)
  return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, t // tube, -1, tube * patch**2 * c)


def unpatch(x_BxTxSxP: jax.Array, size: tuple[int, int], patch: int, tube: int) -> jax.Array:
  """The inverse of `patches`: [B, T tube, H, W, C] for size (H, W)."""
  b, t, _, p = x_BxTxSxP.shape
  h, w = size
  x = x_BxTxSxP.reshape(b, t, h // patch, w // patch, tube, patch, patch, p // (tube * patch**2))
  return x.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, t * tube, h, w, -1)


def patch_rays(rays_CxHxWx3: np.ndarray, origins_Cx3: np.ndarray, patch: int) -> np.ndarray:
  """[C, S, 6]: where the rays of each patch start (m, ego frame), and the unit direction of their mean."""
  c, h, w, _ = rays_CxHxWx3.shape
  blocks = rays_CxHxWx3.reshape(c, h // patch, patch, w // patch, patch, 3).mean((2, 4)).reshape(c, -1, 3)
  blocks = blocks / np.linalg.norm(blocks, axis=-1, keepdims=True)
  origins = np.broadcast_to(origins_Cx3[:, None], blocks.shape)
  return np.concatenate([origins, blocks], -1).astype(np.float32)


class Camera(nn.Module):
  """images_BxTxCxHxWx3 uint8 and rays_BxCxSx6 (`patch_rays`) -> tokens, camera by camera, row by row.

  token = W x / 127.5 - 1 of its pixels + b + MLP(sines and cosines of its ray). A. Dosovitskiy et al., ViT,
  arXiv:2010.11929.
  """

  config: CameraConfig
  width: int
  tube: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, images_BxTxCxHxWx3, rays_BxCxSx6):
    b, t, c, h, w, _ = images_BxTxCxHxWx3.shape
    x = images_BxTxCxHxWx3.astype(jnp.float32) / 127.5 - 1
    x = patches(x.swapaxes(1, 2).reshape(b * c, t, h, w, 3), self.config.patch, self.tube)
    x = x.reshape(b, c, t // self.tube, -1, x.shape[-1]).swapaxes(1, 2)
    x = _linear(self, "patch", x.reshape(b, t // self.tube, -1, x.shape[-1]), self.width, self.dtype)
    scale = jnp.asarray([1 / RAY_SCALE_M] * 3 + [1.0] * 3, jnp.float32)
    octaves = jnp.pi * 2.0 ** jnp.arange(RAY_BANDS, dtype=jnp.float32)
    angle = (rays_BxCxSx6 * scale[None, None, None])[..., None] * octaves[None, None, None, None]
    waves = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1).reshape(b, 1, -1, 2 * RAY * RAY_BANDS)
    up = weight(self, "ray_stem", (waves.shape[-1], self.width), ("features", "mlp"), waves.shape[-1])
    down = weight(self, "ray_down", (self.width, self.width), ("mlp", "embed"), self.width)
    return x + gelu(waves @ up) @ down


class Raster(nn.Module):
  """raster_BxTxHxWxC uint8 -> tokens: W (x - zero) / (255 - zero) of its cells + b + an embedding of its place."""

  config: RasterConfig
  width: int
  tube: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, raster_BxTxHxWxC):
    zeros = jnp.asarray(self.config.zeros, jnp.float32)[None, None, None, None]
    x = (raster_BxTxHxWxC.astype(jnp.float32) - zeros) / (255 - zeros)
    x = patches(x, self.config.grid.patch, self.tube)
    return _linear(self, "patch", x, self.width, self.dtype) + _places(self, self.config.places, self.width)


class Lidar(nn.Module):
  """points_BxTxPx4 (x, y, z in metres, intensity) and echo_BxTxP -> tokens of patches of pillars.

  Each point of a cell gets relu(W f + b) of its features f; a pillar is the largest and the mean of its points'
  and the logarithm of their number. A. H. Lang et al., PointPillars, arXiv:1812.05784, with every cell of the
  grid kept instead of a list of filled ones, and no batch norm.
  """

  config: LidarConfig
  width: int
  tube: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, points_BxTxPx4, echo_BxTxP):
    c, grid = self.config, self.config.grid
    points = points_BxTxPx4[:, self.tube - 1 :: self.tube].astype(jnp.float32)
    echo = echo_BxTxP[:, self.tube - 1 :: self.tube]
    b, t, p, _ = points.shape
    cell, features, count = point_features(points.reshape(b * t, p, 4), echo.reshape(b * t, p), grid)
    x = jax.nn.relu(_linear(self, "point", features, c.channels, self.dtype))
    pillars = _pool(x, cell, count)
    x = patches(pillars.reshape(b, t, grid.cells, grid.cells, c.pillar), grid.patch, 1)
    return _linear(self, "patch", x, self.width, self.dtype) + _places(self, c.places, self.width)


class Ego(nn.Module):
  """ego_BxTxS, each entry divided by its scale -> one token a step: W2 gelu(W1 x + b)."""

  config: EgoConfig
  width: int
  tube: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, ego_BxTxS):
    scales = jnp.asarray(self.config.scales, jnp.float32)
    x = ego_BxTxS[:, self.tube - 1 :: self.tube].astype(jnp.float32) / scales[None, None]
    hidden = gelu(_linear(self, "ego_stem", x, 4 * self.width, self.dtype, ("features", "mlp")))
    down = weight(self, "down", (4 * self.width, self.width), ("mlp", "embed"), 4 * self.width)
    return (hidden @ down)[:, :, None]


def point_features(points_NxPx4: jax.Array, echo_NxP: jax.Array, grid: GridConfig):
  """(cell_NxP, features_NxPx9, count_NxG) of N sweeps: where each point falls, what it looks like there, points of
  each cell.

  Points without an echo or outside the grid fall into cell G = cells^2, which is nobody's.
  """
  cells = grid.cells**2
  place = (points_NxPx4[..., :2] + jnp.asarray(grid.corner_m, jnp.float32)[None, None]) / grid.cell_m
  index = jnp.floor(place).astype(jnp.int32)
  inside = echo_NxP & ((index >= 0) & (index < grid.cells)).all(-1)
  cell = jnp.where(inside, index[..., 0] * grid.cells + index[..., 1], cells)
  count = _by_cell(jax.ops.segment_sum, jnp.ones_like(place[..., :1]), cell, cells + 1)
  sums = _by_cell(jax.ops.segment_sum, points_NxPx4[..., :3], cell, cells + 1)
  mean = jnp.take_along_axis(sums / jnp.maximum(count, 1), cell[..., None], 1)
  scale = jnp.asarray([grid.half_m, grid.half_m, HEIGHT_SCALE_M, 1.0], jnp.float32)
  spread = jnp.asarray([grid.cell_m] * 2 + [HEIGHT_SCALE_M])
  from_mean = (points_NxPx4[..., :3] - mean) / spread[None, None]
  from_centre = place - index - 0.5
  features = jnp.concatenate([points_NxPx4 / scale[None, None], from_mean, from_centre], -1)
  return cell, jnp.where(inside[..., None], features, 0), count[:, :-1, 0]


def _pool(x_NxPxM, cell_NxP, count_NxG):
  """[N, G, 2 M + 1]: of the points of each cell the largest, the mean, log(1 + number); zeros where there is none."""
  cells = count_NxG.shape[1] + 1
  count = count_NxG[..., None]
  largest = _by_cell(jax.ops.segment_max, x_NxPxM, cell_NxP, cells)[:, :-1]
  mean = _by_cell(jax.ops.segment_sum, x_NxPxM, cell_NxP, cells)[:, :-1] / jnp.maximum(count, 1)
  return jnp.concatenate([jnp.where(count > 0, largest, 0), mean, jnp.log1p(count)], -1)


def _by_cell(reduction, x_NxPxM, cell_NxP, cells: int):
  """[N, cells, M]: `reduction` of jax.ops over the points of each cell, sweep after sweep in one call.

  Under vmap it would be a scatter over two axes, which runtimes of vehicles do not have.
  """
  n, p, m = x_NxPxM.shape
  place = (cell_NxP + cells * jnp.arange(n)[:, None]).reshape(-1)
  return reduction(x_NxPxM.reshape(n * p, m), place, n * cells).reshape(n, cells, m)


def _linear(module, name: str, x, width: int, dtype, axes=("features", "embed")):
  """W x + b in float32, multiplied in the compute dtype; b says which sensor this is."""
  kernel = weight(module, name, (x.shape[-1], width), axes, x.shape[-1]).astype(dtype)
  zeros = nn.with_logical_partitioning(nn.initializers.zeros, (axes[1] if axes[1] == "mlp" else "norm",))
  bias = module.param(f"{name}_bias", zeros, (width,), jnp.float32)
  return (x.astype(dtype) @ kernel).astype(jnp.float32) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def _places(module, places: int, width: int):
  """An embedding [1, 1, S, D] of each place of a grid, as small as what tells places apart may be at first."""
  init = nn.with_logical_partitioning(nn.initializers.normal(PLACE_DEVIATION), (None, "table"))
  return module.param("place", init, (places, width), jnp.float32)[None, None]
