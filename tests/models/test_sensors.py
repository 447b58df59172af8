"""Encoders of sensors against loops and closed forms: patches, pillars, rays."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.sensors import Camera, Lidar, Raster, patch_rays, patches, point_features, unpatch
from models.sensors_config import CameraConfig, GridConfig, LidarConfig, RasterConfig

GRID = GridConfig(cells=4, patch=2, cell_m=2.0, rear_m=3.0)
LIDAR = LidarConfig(GRID, 30, 6)
WIDTH = 8


_FEATURES = jax.jit(lambda points, echo: point_features(points, echo, GRID))  # of sweeps
_APPLY = jax.jit(lambda module, params, *inputs: module.apply({"params": params}, *inputs), static_argnums=0)


def _params(module, *inputs):
  """Parameters that are nowhere zero."""
  shapes = nn.unbox(jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"])
  rng = np.random.default_rng(1)
  return jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), shapes)


def test_patches_are_blocks_of_the_tube_and_unpatch_puts_them_back():
  x = np.random.default_rng(0).normal(size=(2, 4, 6, 9, 2)).astype(np.float32)
  cut = np.asarray(patches(jnp.asarray(x), 3, 2))
  assert cut.shape == (2, 2, 6, 2 * 9 * 2)
  np.testing.assert_array_equal(cut[1, 1, 5], x[1, 2:4, 3:6, 6:9].ravel())
  np.testing.assert_array_equal(unpatch(jnp.asarray(cut), (6, 9), 3, 2), x)


def _sweep(seed=0):
  rng = np.random.default_rng(seed)
  return rng.uniform(-5, 7, (30, 4)).astype(np.float32), rng.random(30) < 0.8


def test_points_are_described_as_in_a_loop():
  """Cell by cell: x in [2 i - 3, 2 i - 1), y in [2 j - 4, 2 j - 2); offsets from the mean and from the centre."""
  points, echo = _sweep()
  cell, features, count = (np.asarray(v)[0] for v in _FEATURES(points[None], echo[None]))
  inside = 0
  for i in range(4):
    for j in range(4):
      low = np.array([2 * i - 3, 2 * j - 4])
      mine = echo & (points[:, :2] >= low[None]).all(1) & (points[:, :2] < low[None] + 2).all(1)
      inside += mine.sum()
      assert count[4 * i + j] == mine.sum()
      np.testing.assert_array_equal(cell == 4 * i + j, mine)
      if not mine.any():
        continue
      here = points[mine]
      expected = np.concatenate(
        [
          here / np.array([[4, 4, 3, 1]]),
          (here[:, :3] - here[:, :3].mean(0, keepdims=True)) / np.array([[2, 2, 3]]),
          (here[:, :2] - low[None] - 1) / 2,
        ],
        1,
      )
      np.testing.assert_allclose(features[mine], expected, rtol=1e-5, atol=1e-5)
  assert 5 < inside < echo.sum(), "all inside or nobody: the comparison shows nothing"
  assert (features[cell == 16] == 0).all()


def _lidar(points, echo, params=None):
  module = Lidar(LIDAR, WIDTH, 1, jnp.dtype("float32"))
  inputs = (points[None, None], echo[None, None])
  params = _params(module, *inputs) if params is None else params
  return np.asarray(_APPLY(module, params, *inputs))[0, 0], params


def test_pillars_are_the_largest_the_mean_and_the_number_of_their_points():
  points, echo = _sweep()
  found, params = _lidar(points, echo)
  cell, features, _ = (np.asarray(v)[0] for v in _FEATURES(points[None], echo[None]))
  hidden = np.maximum(features @ params["point"] + params["point_bias"][None], 0)
  pillars = np.zeros((16, LIDAR.pillar))
  for g in range(16):
    mine = hidden[cell == g]
    if len(mine):
      pillars[g] = np.concatenate([mine.max(0), mine.mean(0), [np.log1p(len(mine))]])
  grid = pillars.reshape(4, 4, -1)
  blocks = [grid[i : i + 2, j : j + 2].ravel() for i in (0, 2) for j in (0, 2)]
  expected = np.array(blocks) @ params["patch"] + params["patch_bias"][None] + params["place"]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_sweeps_of_a_batch_do_not_mix():
  sweeps = [_sweep(seed) for seed in range(3)]
  together = _FEATURES(*(np.stack(part) for part in zip(*sweeps, strict=True)))
  for i, (points, echo) in enumerate(sweeps):
    for own, alone in zip(together, _FEATURES(points[None], echo[None]), strict=True):
      np.testing.assert_array_equal(own[i], alone[0])


def test_sweeps_have_no_order_and_no_points_where_there_is_no_echo():
  points, echo = _sweep()
  before, params = _lidar(points, echo)
  order = np.random.default_rng(1).permutation(30)
  np.testing.assert_allclose(_lidar(points[order], echo[order], params)[0], before, rtol=1e-5, atol=1e-5)
  moved = np.where(echo[:, None], points, 0.5).astype(np.float32)
  np.testing.assert_array_equal(_lidar(moved, echo, params)[0], before)
  far = np.where(echo[:, None], points, 1e4).astype(np.float32)
  np.testing.assert_allclose(_lidar(far, np.ones(30, bool), params)[0], before, rtol=1e-5, atol=1e-5)
  assert np.abs(_lidar(points, np.zeros(30, bool), params)[0] - before).max() > 0.1


def test_empty_sweeps_have_finite_gradients():
  points, _ = _sweep()
  module, inputs = (
    Lidar(LIDAR, WIDTH, 1, jnp.dtype("float32")),
    (points[None, None], np.zeros((1, 1, 30), bool)),
  )
  params = _params(module, *inputs)
  gradient = jax.jit(jax.grad(lambda p: (module.apply({"params": p}, *inputs) ** 2).sum()))(params)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  assert np.abs(gradient["place"]).max() > 0


def test_rays_of_patches_point_where_their_pixels_do():
  angle = np.linspace(-0.3, 0.3, 8)
  rays = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)[None, None].repeat(4, 1).astype(np.float32)
  found = patch_rays(rays, np.array([[1.5, 0.0, 1.6]], np.float32), 4)
  assert found.shape == (1, 2, 6) and found.dtype == np.float32
  np.testing.assert_allclose(found[0, :, :3], [[1.5, 0, 1.6]] * 2)
  middle = angle.reshape(2, 4).mean(1)
  np.testing.assert_allclose(np.arctan2(found[0, :, 4], found[0, :, 3]), middle, rtol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(found[..., 3:], axis=-1), 1, rtol=1e-6)


@pytest.fixture(scope="module")
def cameras():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (2, 2, 3, 4, 8, 3)).astype(np.uint8)
  rays = rng.normal(size=(2, 3, 2, 6)).astype(np.float32)
  module = Camera(CameraConfig(3, 4, 8, 4), WIDTH, 1, jnp.dtype("float32"))
  params = _params(module, images, rays)
  return lambda images, rays: np.asarray(_APPLY(module, params, images, rays)), images, rays


def test_a_rig_with_other_cameras_runs_through_the_same_weights(cameras):
  """Cameras in another order give the same tokens in that order; fewer cameras the tokens of those."""
  encode, images, rays = cameras
  before = encode(images, rays).reshape(2, 2, 3, 2, WIDTH)
  after = encode(images[:, :, [2, 0]], rays[:, [2, 0]]).reshape(2, 2, 2, 2, WIDTH)
  np.testing.assert_allclose(after, before[:, :, [2, 0]], rtol=1e-5, atol=1e-5)


def test_where_a_camera_looks_is_in_its_tokens(cameras):
  encode, images, rays = cameras
  turned = rays.copy()
  turned[:, 1, :, 3:] *= -1
  changed = np.abs(encode(images, turned) - encode(images, rays)).reshape(2, 2, 3, 2, WIDTH).max((0, 1, 3, 4))
  assert changed[1] > 0.1 and changed[[0, 2]].max() < 1e-5


def test_scales_are_constants(cameras):
  """A clip's tokens do not depend on who else is in the batch."""
  encode, images, rays = cameras
  np.testing.assert_allclose(encode(images, rays)[:1], encode(images[:1], rays[:1]), rtol=1e-5, atol=1e-5)


def test_a_raster_that_says_nothing_is_its_place_alone():
  config = RasterConfig(GRID, (0, 128))
  raster = np.broadcast_to(np.array([0, 128], np.uint8), (1, 2, 4, 4, 2))
  module = Raster(config, WIDTH, 2, jnp.dtype("float32"))
  params = _params(module, raster)
  expected = (params["place"] + params["patch_bias"][None])[None, None]
  np.testing.assert_allclose(_APPLY(module, params, raster), expected, rtol=1e-6)


def test_a_patch_that_does_not_divide_is_refused():
  with pytest.raises(ValueError, match="height 9 is no multiple of the patch, 4"):
    _ = CameraConfig(1, 9, 8, 4).places
