"""Masks: exact counts, never an invalid token, whole blocks, tubes that stay, a sensor that is always left."""

import jax
import numpy as np
import pytest

from objectives import masks

GRID = (2, 6, 8)  # 96 places
hide = jax.jit(masks.hide, static_argnums=(2, 3, 4, 5))
hide_by_sensor = jax.jit(masks.hide_by_sensor, static_argnums=(2, 3, 4, 5))
drop_sensors = jax.jit(masks.drop_sensors, static_argnums=(2, 3))


def _valid(rate: float, shape=(3, 4, 96)) -> np.ndarray:
  return np.random.default_rng(0).random(shape) < rate


@pytest.mark.parametrize(("ratio", "block"), [(0.0, 1), (0.15, 1), (0.75, 3), (1.0, 2)])
def test_every_frame_hides_exactly_its_share_of_valid_tokens(ratio, block):
  valid = _valid(0.6)
  valid[0, 0] = False
  hidden = np.asarray(hide(jax.random.key(1), valid, ratio, GRID, block, False))
  expected = [[round(ratio * int(n)) for n in row] for row in valid.sum(-1)]
  np.testing.assert_array_equal(hidden.sum(-1), expected)
  assert not (hidden & ~valid).any()
  assert (valid & ~hidden).sum(-1).max() <= masks.visible_slots(96, ratio)


def test_random_masks_are_uniform_and_differ_by_key_sample_and_time():
  valid = np.ones((64, 4, 96), bool)
  hidden = np.asarray(hide(jax.random.key(0), valid, 0.25, GRID, 1, False))
  often = hidden.mean((0, 1))  # each of 256 draws hides a place with probability 1/4
  assert np.abs(often - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 256)
  assert (hidden[0] != hidden[1]).any()
  assert (hidden[:, 0] != hidden[:, 1]).any()
  other = np.asarray(hide(jax.random.key(2), valid, 0.25, GRID, 1, False))
  assert (hidden != other).any()


def test_blocks_are_hidden_whole_but_one():
  planes, rows, columns = GRID
  valid = np.ones((16, 2, 96), bool)
  hidden = np.asarray(hide(jax.random.key(3), valid, 0.4, GRID, 3, False))
  for frame in hidden.reshape(-1, planes, rows, columns):
    cut = []
    for top in range(3):
      for left in range(3):
        row = (np.arange(rows) + top) // 3
        column = (np.arange(columns) + left) // 3
        blocks = [
          frame[p][np.ix_(row == r, column == c)]
          for p in range(planes)
          for r in np.unique(row)
          for c in np.unique(column)
        ]
        cut.append(sum(0 < block.mean() < 1 for block in blocks))
    assert min(cut) <= 1


def test_tubes_hide_the_same_places_at_all_times():
  valid = np.ones((3, 4, 96), bool)
  hidden = np.asarray(hide(jax.random.key(1), valid, 0.75, GRID, 1, True))
  np.testing.assert_array_equal(hidden, np.broadcast_to(hidden[:, :1], hidden.shape))
  np.testing.assert_array_equal(hidden.sum((1, 2)), 4 * 72)
  assert (hidden[0] != hidden[1]).any()


def test_tubes_count_places_that_are_valid_at_any_time():
  valid = _valid(0.3)
  hidden = np.asarray(hide(jax.random.key(1), valid, 0.5, GRID, 2, True))
  assert not (hidden & ~valid).any()
  for h, v in zip(hidden, valid, strict=True):
    assert h.any(0).sum() == round(0.5 * int(v.any(0).sum()))
    np.testing.assert_array_equal(h, h.any(0)[None] & v)  # a hidden place is hidden whenever it is there


def test_each_sensor_hides_its_own_share_and_one_token_nothing():
  valid = _valid(0.7, (2, 3, 12 + 1 + 16))
  grids = ((1, 3, 4), (1, 1, 1), (1, 4, 4))
  hidden = np.asarray(hide_by_sensor(jax.random.key(0), valid, grids, 0.5, 1, False))
  for part in (slice(0, 12), slice(13, 29)):
    expected = [[round(0.5 * int(n)) for n in row] for row in valid[:, :, part].sum(-1)]
    np.testing.assert_array_equal(hidden[:, :, part].sum(-1), expected)
  assert not hidden[:, :, 12].any()


@pytest.mark.parametrize("rate", [0.2, 0.5, 1.0])
def test_sensors_are_lost_at_the_stated_rate_less_what_is_given_back(rate):
  valid = np.ones((4000, 1, 3), bool)
  valid[:2000, :, 0] = False  # half of the samples have two sensors
  lost = np.asarray(drop_sensors(jax.random.key(3), valid, (1, 1, 1), rate))[:, 0]
  for part, n in ((lost[:2000, 1:], 2), (lost[2000:], 3)):
    expected = rate - rate**n / n
    np.testing.assert_allclose(part.mean(0), expected, atol=4.5 * np.sqrt(expected * (1 - expected) / 2000))
  both = (lost[2000:, 0] & lost[2000:, 1]).mean()  # independently, unless the third is lost too
  expected = rate**2 - rate**3 * 2 / 3
  np.testing.assert_allclose(both, expected, atol=4.5 * np.sqrt(expected * (1 - expected) / 2000))


def test_lost_sensors_are_lost_whole_and_one_is_left():
  valid = np.ones((512, 2, 10), bool)
  valid[:100, :, :3] = False  # the first hundred have no first sensor
  lost = np.asarray(drop_sensors(jax.random.key(0), valid, (3, 5, 2), 0.5))
  assert not (lost & ~valid).any()
  assert (valid & ~lost).any((1, 2)).all()
  for part in (slice(0, 3), slice(3, 8), slice(8, 10)):
    np.testing.assert_array_equal(lost[100:, :, part].any((1, 2)), lost[100:, :, part].all((1, 2)))
  assert not np.asarray(drop_sensors(jax.random.key(0), valid, (3, 5, 2), 0.0)).any()
