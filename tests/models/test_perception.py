"""The perception model: whatever sensors there are, in tubes, in part, and summed up."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.perception import PerceptionModel, summary
from tests.sensed import perception_config, sensor_batch

ALL = ("ego", "raster", "lidar", "camera")
FULL = perception_config("full", ALL, 1, layers=1)


def _params(config):
  """Parameters that are nowhere zero, as after training."""
  init = PerceptionModel(config).init
  shapes = nn.unbox(jax.eval_shape(init, jax.random.key(0), sensor_batch(config))["params"])
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda leaf: rng.normal(float(len(leaf.shape) == 1), 0.3, leaf.shape).astype(np.float32), shapes
  )


@pytest.fixture(scope="module")
def full():
  """apply(batch) of the model with all sensors, its parameters, and a batch whose sweeps all have echoes."""
  params, model = _params(FULL), PerceptionModel(FULL)
  apply = jax.jit(lambda batch, keep=None: model.apply({"params": params}, batch, keep))
  return apply, params, sensor_batch(FULL)


def _without(batch, name):
  arrays = {"ego": "ego", "raster": "raster", "lidar": "points echo", "camera": "images rays"}[name].split()
  return {key: value for key, value in batch.items() if key.partition("_")[0] not in arrays}


@pytest.mark.parametrize("name", ["lidar", "camera"])
def test_a_missing_sensor_is_one_that_is_not_sensed_and_one_the_model_never_had(full, name):
  """Absent arrays = sensed false, to the bit; and = the same weights in a model without the sensor, to 1e-5."""
  apply, params, batch = full
  absent, valid = apply(_without(batch, name))
  sensed = np.ones((2, 4), bool)
  sensed[:, ALL.index(name)] = False
  dropped, dropped_valid = apply(batch | {"sensed_BxM": sensed})
  np.testing.assert_array_equal(valid, dropped_valid)
  here = np.ones(FULL.trunk.space, bool)
  here[FULL.slices[name]] = False
  np.testing.assert_array_equal(valid, np.broadcast_to(here[None, None], valid.shape))
  np.testing.assert_array_equal(absent[valid], dropped[valid])
  smaller = perception_config("full", tuple(sensor for sensor in ALL if sensor != name), 1, layers=1)
  apply_smaller = jax.jit(lambda batch: PerceptionModel(smaller).apply({"params": params}, batch))
  alone, _ = apply_smaller(_without(batch, name))
  np.testing.assert_allclose(absent[:, :, here], alone, rtol=1e-5, atol=1e-5)
  assert np.abs(apply(batch)[0] - dropped)[valid].max() > 0.01, "the sensor changes nothing"


def test_a_sweep_without_echoes_is_not_valid(full):
  apply, _, batch = full
  echo = batch["echo_BxTxP"].copy()
  echo[1, 0] = False
  _, valid = apply(batch | {"echo_BxTxP": echo})
  expected = np.ones(valid.shape, bool)
  expected[1, 0, FULL.slices["lidar"]] = False
  np.testing.assert_array_equal(valid, expected)


def test_encoding_kept_places_is_encoding_with_the_others_invalid(full):
  """Full attention over the kept tokens, in their order: what a masked autoencoder's encoder sees."""
  apply, params, batch = full
  rng = np.random.default_rng(0)
  keep = np.stack([rng.permutation(FULL.trunk.space)[:5] for _ in range(4)]).reshape(2, 2, 5)
  found, valid = apply(batch, keep)
  kept = np.zeros((2, 2, FULL.trunk.space), bool)
  np.put_along_axis(kept, keep, True, 2)

  @jax.jit
  def in_two(batch, kept):
    model = PerceptionModel(FULL)
    x, everywhere = model.apply({"params": params}, batch, method="embed_tokens")
    return model.apply({"params": params}, x, kept & everywhere, method="mix")

  expected = in_two(batch, kept)
  assert valid.all()
  np.testing.assert_allclose(
    found, np.take_along_axis(np.asarray(expected), keep[..., None], 2), rtol=1e-5, atol=1e-5
  )


def test_a_step_of_tubes_sees_its_frames_and_no_later_one():
  config = perception_config("factorised", ALL, 2)
  params, batch = _params(config), sensor_batch(config)
  apply = jax.jit(lambda batch: PerceptionModel(config).apply({"params": params}, batch)[0])
  before = np.asarray(apply(batch))
  assert before.shape == (2, 2, config.trunk.space, 16)
  for frame, steps in ((1, [True, True]), (2, [False, True])):
    later = dict(batch)
    for name in ("images_BxTxCxHxWx3", "raster_BxTxHxWxC", "ego_BxTxS"):
      later[name] = batch[name].copy()
      later[name][:, frame] = 1
    np.testing.assert_array_equal((np.asarray(apply(later)) != before).any((0, 2, 3)), steps)


def test_the_summary_is_the_mean_of_valid_tokens():
  x = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype(np.float32)
  valid = np.random.default_rng(1).random((3, 2, 4)) < 0.5
  valid[2] = False
  found = summary(jnp.asarray(x), jnp.asarray(valid))
  for i in range(2):
    np.testing.assert_allclose(found[i], x[i][valid[i]].mean(0), rtol=1e-5)
  np.testing.assert_array_equal(found[2], 0)


def test_a_trunk_of_another_size_than_the_sensors_is_refused():
  with pytest.raises(
    ValueError, match=r"trunk\.space is 3, not the sum .* ego 1, raster 4, lidar 4, camera 4"
  ):
    dataclasses.replace(FULL, trunk=dataclasses.replace(FULL.trunk, space=3))
