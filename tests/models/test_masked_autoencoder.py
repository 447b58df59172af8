"""The masked autoencoder: nothing of a hidden token is seen, every visible one is; what it costs."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from models.masked_autoencoder import MaskedAutoencoder
from models.masked_config import MaskedConfig
from scaling.planning import hlo, program_cost
from tests.sensed import SENSORS, perception_config, sensor_batch

CONFIG = MaskedConfig(perception_config("factorised", SENSORS, 1), 2, 0.5)
MODEL = MaskedAutoencoder(CONFIG)
RASTER, LIDAR, CAMERA = (CONFIG.encoder.slices[name] for name in ("raster", "lidar", "camera"))
HIDDEN_S = np.zeros(CONFIG.encoder.trunk.space, bool)  # half of each sensor's places, never the ego
HIDDEN_S[
  [RASTER.start + 1, RASTER.start + 2, LIDAR.start, LIDAR.start + 3, CAMERA.start + 1, CAMERA.start + 2]
] = True


def _hide(valid_BxTxS):
  return valid_BxTxS & HIDDEN_S[None, None]


def _batch(count: int = 2):
  return sensor_batch(CONFIG.encoder, count) | {"real_B": np.ones(count, bool)}


@pytest.fixture(scope="module")
def apply():
  """(batch) -> (told, hidden), with parameters none of which is zero."""
  params = nn.unbox(jax.jit(lambda key, batch: MODEL.init(key, batch, _hide))(jax.random.key(0), _batch()))[
    "params"
  ]
  params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape), params)
  return jax.jit(lambda batch: MODEL.apply({"params": params}, batch, _hide))


def _told(apply, batch) -> dict[str, np.ndarray]:
  return {name: np.asarray(values) for name, values in apply(batch)[0].items()}


def test_what_is_told_has_a_value_for_each_of_its_sensor(apply):
  told, hidden = apply(_batch())
  assert {name: values.shape for name, values in told.items()} == {
    "raster": (2, 2, 4, 4 * 4 * 3), "lidar": (2, 2, 4, 6), "camera": (2, 2, 4, 8 * 8 * 3),
  }  # fmt: skip
  assert CONFIG.visible == 1 + 2 + 2 + 2
  np.testing.assert_array_equal(hidden["raster"], np.broadcast_to(HIDDEN_S[RASTER], (2, 2, 4)))


@pytest.mark.parametrize(("rows", "columns", "seen"), [((0, 4), (0, 4), True), ((0, 4), (4, 8), False)])
def test_a_hidden_patch_is_not_seen_and_a_visible_one_is(apply, rows, columns, seen):
  """Raster patches are 4 x 4 cells, row by row: place 0 is visible, place 1 hidden, at both steps."""
  before = _told(apply, _batch())
  batch = _batch()
  batch["raster_BxTxHxWxC"][:, :, slice(*rows), slice(*columns)] ^= 255
  after = _told(apply, batch)
  assert all((before[name] != after[name]).any() == seen for name in before)


def test_a_record_that_fills_up_has_no_hidden_token_and_the_others_do_not_see_it(apply):
  batch = _batch() | {"real_B": np.array([True, False])}
  told, hidden = apply(batch)
  assert not any(np.asarray(part[1]).any() for part in hidden.values())
  np.testing.assert_array_equal(told["camera"][0], apply(_batch())[0]["camera"][0])


def test_a_sweep_without_echoes_has_nothing_to_hide(apply):
  batch = _batch()
  batch["echo_BxTxP"][0, 1] = False
  _, hidden = apply(batch)
  np.testing.assert_array_equal(np.asarray(hidden["lidar"]).any(-1), [[True, False], [True, True]])


def _shapes():
  return nn.unbox(jax.eval_shape(lambda b: MODEL.init(jax.random.key(0), b, _hide), _batch())["params"])


def test_parameters_are_counted_one_by_one():
  sizes = {jax.tree_util.keystr(k): v.size for k, v in jax.tree_util.tree_leaves_with_path(_shapes())}
  assert sum(sizes.values()) == CONFIG.param_count()
  outside = sum(size for name, size in sizes.items() if "place" in name or "head_" in name)
  assert CONFIG.non_embedding_params() == CONFIG.param_count() - outside


def test_flops_are_what_the_compiler_multiplies():
  """Forward, unrolled, within 1 %: the encoder's trunk runs over the visible tokens alone."""
  forward = jax.jit(lambda params, batch: MODEL.apply({"params": params}, batch, _hide)[0])
  program = hlo.parse(forward.lower(_shapes(), _batch()).compile().as_text())
  counted = CONFIG.flops_per_token() * 2 * CONFIG.tokens
  assert 3 * program_cost.cost(program).flops == pytest.approx(counted, rel=0.01)
  everything = MaskedConfig(CONFIG.encoder, 2, 0.0)
  assert CONFIG.flops_per_token() < 0.8 * everything.flops_per_token()
