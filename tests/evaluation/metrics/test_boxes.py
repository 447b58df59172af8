"""Oriented boxes and time to collision against brute force in float64, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics import boxes, time_to_collision
from tests.evaluation.metrics import polygons

BOXES = 10_000
_DISTANCE, _OVERLAP = jax.jit(boxes.signed_distance), jax.jit(boxes.overlap)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def pairs(count, seed):
  """Pairs of boxes [count, 5], a fifth of them overlapping; a tenth parallel, a tenth at right angles."""
  rng = np.random.default_rng(seed)
  low, high = [-6, -6, -10, 0.3, 0.3], [6, 6, 10, 9, 4]
  a, b = rng.uniform(low, high, (2, count, 5))
  b[: count // 10, 2] = a[: count // 10, 2]
  b[count // 10 : count // 5, 2] = a[count // 10 : count // 5, 2] + np.pi / 2
  return a, b


def test_overlap_and_distance_equal_brute_force_on_random_boxes():
  a, b = pairs(BOXES, 0)
  p, q = polygons.box_corners(a), polygons.box_corners(b)
  np.testing.assert_allclose(jax.jit(boxes.corners)(a), p, atol=1e-12)
  found = np.asarray(_DISTANCE(a, b))
  expected = np.array([polygons.difference_distance(*one) for one in zip(p, q, strict=True)])
  np.testing.assert_allclose(found, expected, atol=1e-9)
  area = np.array([polygons.clipped_area(*one) for one in zip(p.tolist(), q.tolist(), strict=True)])
  clear = np.abs(expected) > 1e-9
  np.testing.assert_array_equal(np.asarray(_OVERLAP(a, b))[clear], area[clear] > 0)
  assert clear.mean() > 0.999 and 0.1 < (found < 0).mean() < 0.9


def test_float32_keeps_millimetres_far_from_the_origin():
  a, b = pairs(1000, 1)
  a[:, :2] += [3e4, -2e4]
  b[:, :2] += [3e4, -2e4]
  a, b = (one.astype(np.float32).astype(np.float64) for one in (a, b))
  exact = _DISTANCE(a, b)
  single = _DISTANCE(a.astype(np.float32), b.astype(np.float32))
  assert single.dtype == jnp.float32
  np.testing.assert_allclose(single, exact, atol=1e-4)


CAR = np.array([0.0, 0.0, 0.0, 4.0, 2.0])


@pytest.mark.parametrize(
  ("other", "distance"),
  [
    ((10, 0, 0, 4, 2), 6),  # bumper to bumper
    ((0, 3, 0, 4, 2), 1),  # side by side
    ((7, 6, 0, 4, 2), 5),  # corner to corner: 3-4-5
    ((4, 0, 0, 4, 2), 0),  # they touch
    ((3.5, 0, 0, 4, 2), -0.5),
    ((3, 1.9, 0, 4, 2), -0.1),  # the shortest way out is sideways
    ((0, 0, 0, 1, 0.5), -1.25),  # one inside the other
    ((2 + np.sqrt(2), 0, np.pi / 4, 2, 2), 0),  # a corner touches an edge
    ((3 + np.sqrt(2), 0, np.pi / 4, 2, 2), 1),
  ],
)
def test_distances_by_hand(other, distance):
  other = np.array(other, np.float64)
  assert float(_DISTANCE(CAR, other)) == pytest.approx(distance, abs=1e-12)
  assert float(_DISTANCE(other, CAR)) == pytest.approx(distance, abs=1e-12)


def test_circles_around_boxes_are_not_boxes():
  """Side by side in two lanes a test by radius reports a collision; across each other one by corners misses it."""
  assert not _OVERLAP(CAR, np.array([0.0, 2.2, 0.0, 12.0, 2.0]))
  assert _OVERLAP(CAR, np.array([0.0, 0.0, np.pi / 2, 12.0, 1.0]))


def test_nan_is_not_reported_as_safe():
  broken = np.array([np.nan, 0.0, 0.0, 4.0, 2.0])
  assert _OVERLAP(CAR, broken) and np.isnan(float(_DISTANCE(CAR, broken)))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
  turn=st.floats(-7, 7),
  shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
  box=st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(-4, 4), st.floats(0.1, 15), st.floats(0.1, 3)),
)
def test_distance_does_not_depend_on_the_frame_or_the_order(turn, shift, box):
  with jax.enable_x64(True):
    other = np.array(box)
    plain = float(_DISTANCE(CAR, other))
    moved = [np.array(one) for one in (CAR, other)]
    for one in moved:
      x, y = one[:2]
      one[:2] = np.cos(turn) * x - np.sin(turn) * y + shift[0], np.sin(turn) * x + np.cos(turn) * y + shift[1]
      one[2] += turn
    assert float(_DISTANCE(*moved)) == pytest.approx(plain, abs=1e-9)
    assert float(_DISTANCE(other, CAR)) == pytest.approx(plain, abs=1e-9)


def ttc(ego, speed, yaw_rate, others, speeds, yaw_rates):
  valid = np.ones(np.shape(speeds), bool)
  args = (np.asarray(value, np.float64) for value in (ego, speed, yaw_rate, others, speeds, yaw_rates))
  return np.asarray(_TTC(*args, valid))


_TTC = jax.jit(time_to_collision.time_to_collision)


def test_time_to_collision_equals_brute_force_on_random_boxes():
  rng = np.random.default_rng(2)
  a, b = pairs(BOXES, 3)
  b[:, :2] += rng.normal(0, 12, (BOXES, 2))
  speed = rng.uniform(-2, 15, (2, BOXES))
  yaw_rate = rng.uniform(0.01, 1, (2, BOXES)) * rng.choice([-1, 1], (2, BOXES))
  expected = np.full(BOXES, np.inf)
  for k in range(30, -1, -1):  # the earliest contact is written last
    s = k * 0.1
    moved = []
    for box, v, w in zip((a, b), speed, yaw_rate, strict=True):
      x = box[:, 0] + v / w * (np.sin(box[:, 2] + w * s) - np.sin(box[:, 2]))
      y = box[:, 1] - v / w * (np.cos(box[:, 2] + w * s) - np.cos(box[:, 2]))
      moved.append(np.column_stack([x, y, box[:, 2] + w * s, box[:, 3:]]))
    expected[polygons.touching(*moved)] = s
  found = ttc(a, speed[0], yaw_rate[0], b[:, None], speed[1][:, None], yaw_rate[1][:, None])[:, 0]
  np.testing.assert_allclose(found, expected, atol=1e-9)
  late = np.isfinite(expected) & (expected > 0)
  assert late.sum() > 500 and np.isinf(expected).sum() > 500


def test_time_to_collision_by_hand():
  ahead = [[20.0, 0, 0, 4, 2], [20.0, 0, np.pi, 4, 2], [20.0, 3, 0, 4, 2], [-20.0, 0, 0, 4, 2]]
  # Gaps of 16 m: at 10 m/s against a standing one 1.6 s, against an oncoming one 0.8 s; beside and behind never.
  np.testing.assert_allclose(ttc(CAR, 10, 0, ahead, [0, 10, 0, 5], [0] * 4), [1.6, 0.8, np.inf, np.inf])
  # Both in a bend of 20 m radius around the origin's left: the same arc, never closer. Straight on they would meet.
  right_ahead = [[20 * np.sin(1), 20 - 20 * np.cos(1), 1, 4, 2]]
  assert np.isinf(ttc(CAR, 10, 0.5, right_ahead, [10.0], [0.5])).all()
  beside = [[0.0, 3.0, 0.0, 4, 2]]
  assert ttc(CAR, 10, 0.5, beside, [10.0], [0.0])[0] < 1


def test_time_to_collision_of_who_is_absent_or_unknown():
  others = np.array([[1.0, 0, 0, 4, 2], [np.nan, 0, 0, 4, 2], [np.nan, 0, 0, 4, 2]])
  found = _TTC(
    CAR, jnp.array(1.0), jnp.array(0.0), others, np.zeros(3), np.zeros(3), np.array([False, True, False])
  )
  np.testing.assert_array_equal(found, [np.inf, np.nan, np.inf])
