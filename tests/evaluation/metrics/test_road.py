"""Drivable area, direction, lane keeping and stop lines against brute force and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.errors import BadInput
from data.schema import Lanes, LaneType, Signal
from evaluation.metrics import boxes, progress, road
from tests.evaluation.metrics import polygons

FAR = np.array([1e6, 1e6])
_ARCS = jax.jit(progress.arcs)
_CROSSINGS = jax.jit(road.red_crossings)


@jax.jit
def seen(points, course, world):
  """What the road says of points [T, 2] and courses [T]."""
  away = road.lateral(points, world)
  return {
    "edge": road.edge_distance(away, world),
    "against": road.against_traffic(away, course, world),
    "off_centre": road.centreline_distance(away, course, world),
    "junction": road.inside_junction(away, world),
  }


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def lanes(*lines, widths=None, types=None):
  """A map of centrelines [P, 2], 3.2 m wide roads unless said otherwise."""
  count = len(lines)
  splits = np.cumsum([0, *map(len, lines)]).astype(np.int32)
  return Lanes(
    xy_Nx2=np.concatenate([np.asarray(line) for line in lines]).astype(np.float32),
    splits=splits,
    width_L=np.array(widths or [3.2] * count, np.float32),
    speed_limit_L=np.full(count, 14, np.float32),
    type_L=np.array(types or [LaneType.ROAD] * count, np.uint8),
    road_L=np.arange(count, dtype=np.int32),
    successor_Ex2=np.zeros((0, 2), np.int32),
    left_L=np.full(count, -1, np.int32),
    right_L=np.full(count, -1, np.int32),
  )


def made(world, size=16):
  return road.make_road(world, size, -FAR, FAR)


# A street with a lane either way, 100 m long; y = 1.6 leads east, y = 4.8 west.
STREET = lanes([(0, 1.6), (60, 1.6), (100, 1.6)], [(100, 4.8), (0, 4.8)])


def test_off_road_equals_brute_force_on_the_corners_of_random_boxes():
  rng = np.random.default_rng(0)
  lines = [np.cumsum(rng.normal(0, 12, (5, 2)), 0).astype(np.float32) for _ in range(5)]
  widths, types = [2.5, 3.2, 4.0, 6.0, 3.0], [LaneType.ROAD] * 3 + [LaneType.JUNCTION, LaneType.WALK]
  world = made(lanes(*lines, widths=widths, types=types), 32)
  cars = np.column_stack(
    [rng.uniform(-25, 25, (10_000, 2)), rng.uniform(-9, 9, 10_000), *rng.uniform(1, 6, (2, 10_000))]
  )
  corners = polygons.box_corners(cars)
  distance = seen(corners.reshape(-1, 2), np.zeros(40_000), world)["edge"].reshape(-1, 4)
  expected = np.zeros(40_000, bool)
  for line, width, kind in zip(lines, widths, types, strict=True):
    half = np.float32(0.5 * width) + (road.JUNCTION_MARGIN if kind == LaneType.JUNCTION else 0)
    if kind != LaneType.WALK:
      expected |= polygons.on_band(corners.reshape(-1, 2), line.astype(np.float64), float(half))
  clear = np.abs(np.asarray(distance)) > 1e-5  # steps are stored in float32
  np.testing.assert_array_equal((np.asarray(distance) <= 0)[clear], expected.reshape(-1, 4)[clear])
  assert clear.mean() > 0.999 and 0.1 < expected.mean() < 0.9


def test_distance_to_the_edge_by_hand():
  world = made(STREET)
  points = np.array([[50, -1], [50, 1.6], [50, 0], [50, 3.2], [-3, 0], [103, 8.4]])
  expected = [1, -1.6, 0, 0, np.hypot(3, 1.6) - 1.6, np.hypot(3, 3.6) - 1.6]  # ends are round
  np.testing.assert_allclose(seen(points, np.zeros(6), world)["edge"], expected, atol=1e-6)
  nothing = made(lanes([(0, 0), (9, 0)], types=[LaneType.WALK]))
  assert np.isinf(seen(points, np.zeros(6), nothing)["edge"]).all()


def test_against_traffic_is_about_lanes_and_courses():
  points = np.array([[50, 1.6], [50, 1.6], [50, 4.8], [50, 4.8], [50, 9.0], [50, 9.0]])
  course = np.array([0.1, np.pi - 0.1, 0.1, -np.pi + 0.1, np.pi, 0])
  found = seen(points, course, made(STREET))
  # Off the road is another fault.
  assert found["against"].tolist() == [False, True, True, False, False, False]
  crossing = made(lanes([(0, 0), (20, 0)], [(10, -10), (10, 10)]))
  middle = np.tile([10.0, 0.0], (6, 1))
  course = np.array([np.pi / 2 - 0.2, -3 * np.pi / 4, 0, -0.1, np.pi + 0.1, -np.pi / 2 - 0.1])
  assert seen(middle, course, crossing)["against"].tolist() == [False, True, False, False, True, True]


def test_lane_keeping_looks_at_the_lane_of_its_direction():
  points, course = np.tile([50, 4.0], (6, 1)), np.array([0, np.pi] * 3)
  np.testing.assert_allclose(seen(points, course, made(STREET))["off_centre"], [2.4, 0.8] * 3, atol=1e-6)


def test_junctions_are_where_turning_paths_are():
  world = made(lanes([(0, 0), (10, 0)], [(10, 0), (20, 0)], types=[LaneType.ROAD, LaneType.JUNCTION]))
  points = np.array([[2.0, 0], [15, 0], [15, 5], [9.9, 0], [7.8, 0], [7.95, 0]])
  # Rounded and half a metre wider: 2.1 m before the path begins.
  assert seen(points, np.zeros(6), world)["junction"].tolist() == [False, True, False, True, False, True]


def test_who_straddles():
  world = made(lanes([(0, 1.6), (50, 1.6), (100, 1.6)], [(0, 4.8), (100, 4.8)]))
  heading = 0.05

  def car(x, y):
    return [x, y, heading, 4.5, 1.8]

  # In the middle, on the line between the lanes, half on the verge, in the other lane, and over two pieces of one lane.
  cars = jnp.array([car(20, 1.6), car(20, 3.2), car(20, 0.2), car(20, 4.8), car(50, 1.6)])
  found = jax.jit(lambda cars: road.straddles(road.lateral(boxes.corners(cars), world), world))(cars)
  assert found.tolist() == [False, True, False, False, False]


def test_a_road_that_does_not_fit_is_named_and_only_what_is_near_is_kept():
  with pytest.raises(BadInput, match="3 lane segments exceed the 2"):
    made(STREET, 2)
  near = road.make_road(STREET, 3, np.array([70.0, 0.0]), np.array([90.0, 2.0]))
  assert near.mask_S.tolist() == [True, False, False] and near.start_Sx2[0].tolist() == [60, np.float32(1.6)]


LINE = lanes([(0, 0), (10, 0)], [(10, 0), (20, 0)], [(10, 0), (15, 5)], types=[0, 1, 1])


def test_a_red_line_is_passed_once_and_only_on_the_own_path():
  signal = np.full((6, 3), Signal.GREEN, np.uint8)
  signal[:, 0] = signal[:, 2] = Signal.RED  # the approach shows red for those who turn
  straight, turning = (road.make_stop_lines(LINE, path, signal, 2) for path in ([0, 1], [0, 2]))
  x = jnp.array([7.0, 8.0, 9.0, 10.0, 11.0, 12.0])
  front = jnp.stack([x, 0 * x], -1)
  assert straight.mask_Q.tolist() == [True, False]
  assert not _CROSSINGS(front, straight).any()
  assert _CROSSINGS(front, turning).any(-1).tolist() == [False, False, False, True, False, False]
  assert not _CROSSINGS(front[::-1], turning).any()  # backwards
  assert not _CROSSINGS(front.at[3:].set(front[2]), turning).any()  # it stops
  assert not _CROSSINGS(front + jnp.array([[9.0, -9.0]]), turning).any()  # far beside
  late = turning._replace(
    red_TxQ=turning.red_TxQ & (np.arange(6) >= 3)[:, None]
  )  # it turned red as it was passed
  assert not _CROSSINGS(front, late).any()


def test_progress_follows_a_route_that_crosses_itself():
  """A figure of eight: by the nearest place alone, the first pass of the middle may be taken for the second."""
  along = np.linspace(0, 2 * np.pi, 400)
  route = 40 * np.stack([np.sin(along), np.sin(along) * np.cos(along)], -1)
  arc = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(route, axis=0).T))])
  driven = np.linspace(0.3, arc[-1] - 1, 200)
  position = np.stack([np.interp(driven, arc, route[:, i]) for i in range(2)], -1)
  position += np.random.default_rng(0).normal(0, 0.05, position.shape)
  padded = np.concatenate([route, np.repeat(route[-1:], 30, 0)])
  found = _ARCS(position, padded)
  np.testing.assert_allclose(found, driven, atol=0.3)


def test_progress_by_hand():
  route = jnp.array([[0.0, 0], [10, 0], [10, 10]])
  there_and_back = jnp.array([[1.0, 2], [4, -1], [9, 0.5], [11, 3], [9, 0.5], [4, -1]])
  np.testing.assert_allclose(_ARCS(there_and_back, route), [1, 4, 9, 13, 9, 4])
  np.testing.assert_allclose(
    _ARCS(jnp.array([[0.0, 0], [0, 0], [40, 40]] + [[40.0, 40]] * 3), route), [0, 0] + [20] * 4
  )
