"""Lane geometry against closed forms and a brute-force oracle."""

import dataclasses
import itertools

import numpy as np
import pytest

from data import lanes
from data.schema import AgentType, Lanes, LaneType

CAR = AgentType.CAR


def make_lanes(polylines, successors=(), roads=None, left=None, right=None) -> Lanes:
  count = len(polylines)
  none = np.full(count, -1, np.int32)
  return Lanes(
    xy_Nx2=np.concatenate([np.asarray(p, np.float32) for p in polylines]),
    splits=np.cumsum([0, *map(len, polylines)]).astype(np.int32),
    width_L=np.full(count, 3.5, np.float32), speed_limit_L=np.full(count, 10, np.float32),
    type_L=np.zeros(count, np.uint8),
    road_L=np.arange(count, dtype=np.int32) if roads is None else np.array(roads, np.int32),
    successor_Ex2=np.array(successors, np.int32).reshape(-1, 2),
    left_L=none if left is None else np.array(left, np.int32),
    right_L=none if right is None else np.array(right, np.int32),
  )  # fmt: skip


CORNER = np.array([[0, 0], [10, 0], [10, 5]])  # 10 m east, then 5 m north


def test_arc_lengths_and_points_at_them():
  assert lanes.arc_lengths(CORNER).tolist() == [0, 10, 15]
  assert lanes.at(CORNER, np.array([-1, 4, 12, 99])).tolist() == [[0, 0], [4, 0], [10, 2], [10, 5]]
  assert lanes.resample(CORNER, 4).tolist() == [[0, 0], [5, 0], [10, 0], [10, 5]]


def test_projection_is_left_positive_and_held_to_the_ends():
  arc, lateral = lanes.project(CORNER, np.array([[[3, 2], [3, -2]], [[12, 4], [-4, 3]]]))
  np.testing.assert_allclose(arc, [[3, 3], [14, 0]], atol=1e-12)
  np.testing.assert_allclose(lateral, [[2, -2], [-2, 5]], atol=1e-12)


def test_match_needs_agreeing_direction_and_distance():
  east, west = [[0, 0], [100, 0]], [[100, 3.5], [0, 3.5]]
  both = make_lanes([east, west])
  position = np.array([[50, 1.7], [50, 1.7], [50, -3.9], [50, -4.1], [-3, 0], [-5, 0]])
  heading = np.array([0, np.pi, 0, 0, 0, 0])
  assert lanes.match_lanes(position, heading, both, 4.0).tolist() == [0, 1, 0, -1, 0, -1]
  angles = np.deg2rad([59, -59, 61, -61])
  assert lanes.match_lanes(np.full((4, 2), [50.0, -1.0]), angles, both, 3.0).tolist() == [0, 0, -1, -1]
  assert lanes.match_lanes(np.zeros((0, 2)), np.zeros(0), both, 4.0).shape == (0,)


def test_coinciding_lanes_are_told_apart_by_heading():
  fan = make_lanes([[[0, 0], [20, 0]], [[0, 0], [20, 8]]])
  at_fork = np.zeros((2, 2))
  assert lanes.match_lanes(at_fork, np.array([0.0, 0.35]), fan, 2.0).tolist() == [0, 1]


def test_match_equals_exhaustive_search_anywhere_and_turned():
  rng = np.random.default_rng(0)
  starts, angle = rng.uniform(-150, 150, (40, 2)), rng.uniform(-np.pi, np.pi, 40)
  bend = np.stack([np.linspace(0, 60, 9), 0.02 * np.linspace(0, 60, 9) ** 2], -1)
  lines = [s + bend @ rotation(a) for s, a in zip(starts, angle, strict=True)]
  position, heading = rng.uniform(-160, 160, (300, 2)), rng.uniform(-np.pi, np.pi, 300)
  expected = [exhaustive(lines, p, h, 5.0) for p, h in zip(position, heading, strict=True)]
  assert lanes.match_lanes(position, heading, make_lanes(lines), 5.0).tolist() == expected
  assert 30 < sum(e >= 0 for e in expected) < 290
  turn, shift = 0.7, np.array([311.0, -97.0])
  turned = make_lanes([line @ rotation(turn) + shift for line in lines])
  moved = lanes.match_lanes(position @ rotation(turn) + shift, heading + turn, turned, 5.0)
  assert moved.tolist() == expected


def rotation(angle):
  return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def exhaustive(lines, position, heading, reach):
  best, chosen = reach, -1
  for i, line in enumerate(lines):
    for a, b in itertools.pairwise(line):
      if abs((np.arctan2(*(b - a)[::-1]) - heading + np.pi) % (2 * np.pi) - np.pi) > np.deg2rad(60):
        continue
      share = np.clip((position - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
      distance = np.hypot(*(position - a - share * (b - a)))
      if distance < best:
        best, chosen = distance, i
  return chosen


def test_follow_starts_at_the_projection_and_tells_where_lanes_begin():
  chain = make_lanes([[[0, 0], [50, 0]], [[50, 0], [80, 0]], [[80, 0], [200, 0]]], [(0, 1), (1, 2)])
  path = lanes.follow(chain, 0, np.array([20, 1]), (), 100.0, CAR)
  assert path.length == pytest.approx(100) and path.lanes.tolist() == [0, 1, 2]
  np.testing.assert_allclose(path.starts, [0, 30, 60], atol=1e-5)
  np.testing.assert_allclose(path.points[[0, -1]], [[20, 0], [120, 0]], atol=1e-4)
  assert lanes.arc_lengths(path.points)[-1] == pytest.approx(path.length, abs=1e-4)


def test_follow_ends_at_a_dead_end_and_survives_a_circle():
  path = lanes.follow(make_lanes([[[0, 0], [50, 0]]]), 0, np.array([20, 0]), (), 100.0, CAR)
  assert path.length == pytest.approx(30)
  past_the_end = lanes.follow(make_lanes([[[0, 0], [50, 0]]]), 0, np.array([60, 0]), (), 100.0, CAR)
  assert past_the_end.length == 0 and past_the_end.points.shape == (2, 2)
  angle = np.linspace(0, 2 * np.pi, 33)
  circle = make_lanes([10 * np.stack([np.cos(angle), np.sin(angle)], -1)], [(0, 0)])
  round_and_round = lanes.follow(circle, 0, np.array([10, 0]), (), 150.0, CAR)
  assert round_and_round.length == pytest.approx(150, rel=1e-6) and len(round_and_round.lanes) == 3


# A crossing: road 0 enters; junction lanes (roads 10, 11, 12) lead straight to 1, left to 2, right to 3.
ENTRY = [[0, 0], [50, 0]]
STRAIGHT, LEFT, RIGHT = [[50, 0], [70, 0]], [[50, 0], [60, 2], [62, 12]], [[50, 0], [58, -2], [60, -10]]
CROSSING = [
  ENTRY, STRAIGHT, LEFT, RIGHT, [[70, 0], [150, 0]], [[62, 12], [62, 90]], [[60, -10], [60, -90]],
]  # fmt: skip
TURNS = [(0, 3), (0, 2), (0, 1), (1, 4), (2, 5), (3, 6)]


def test_follow_takes_the_route_and_without_one_goes_straight():
  crossing = make_lanes(CROSSING, TURNS, roads=[0, 10, 11, 12, 1, 2, 3])

  def driven(route, lane=0, xy=(10, 0)):
    return lanes.follow(crossing, lane, np.array(xy), route, 90.0, CAR).lanes.tolist()

  assert driven(()) == [0, 1, 4]
  assert driven((0, 1)) == [0, 1, 4]
  assert driven((0, 2)) == [0, 2, 5]
  assert driven((7, 0, 3)) == [0, 3, 6]
  assert driven((0, 9)) == [0, 1, 4]  # an unreachable road: straight on
  assert driven((0, 3), lane=3, xy=(52, -1)) == [3, 6]  # already inside the junction
  # Starts off the route, joins it later.
  elsewhere = make_lanes(CROSSING, TURNS, roads=[99, 10, 11, 12, 1, 2, 3])
  assert lanes.follow(elsewhere, 0, np.array([10, 0]), (7, 2), 90.0, CAR).lanes.tolist() == [0, 2, 5]


def test_follow_keeps_to_the_route_at_every_junction_and_on_every_round():
  # Road 0 leads straight to 1 and left to 2; road 1 comes back to 0.
  loop = make_lanes(
    [[[0, 0], [10, 0]], [[10, 0], [20, 0], [20, -9], [0, -9], [0, 0]], [[10, 0], [11, 9]]],
    [(0, 1), (0, 2), (1, 0)],
  )  # fmt: skip
  for route, driven in (
    ((0, 1, 0, 2), [0, 1, 0, 2]),
    ((0, 1, 0, 1, 0, 2), [0, 1, 0, 1, 0, 2]),
    ((0, 2), [0, 2]),
  ):
    assert lanes.follow(loop, 0, np.array([0, 0]), route, 500.0, CAR).lanes.tolist() == driven


def test_follow_changes_lane_when_only_the_neighbour_leads_on():
  # Two lanes of road 0; the right one (0) ends, the left one (1) goes on to road 1.
  two = make_lanes(
    [[[0, 0], [100, 0]], [[0, 4], [100, 4]], [[100, 4], [200, 4]]],
    [(1, 2)], roads=[0, 0, 1], left=[1, -1, -1], right=[-1, 0, -1],
  )  # fmt: skip
  for route in ((0, 1), ()):
    path = lanes.follow(two, 0, np.array([30, 0]), route, 120.0, CAR)
    assert path.lanes.tolist() == [1, 2]
    np.testing.assert_allclose(path.points[[0, -1]], [[30, 4], [150, 4]], atol=1e-4)
  # On the last road of the route no change is needed.
  assert lanes.follow(two, 0, np.array([30, 0]), (0,), 120.0, CAR).lanes.tolist() == [0]


def test_follow_prefers_the_lane_that_serves_the_road_after_next():
  # Road 0 leads to both lanes of road 1; only the left lane (2) leads to road 2.
  fork = make_lanes(
    [[[0, 0], [50, 0]], [[50, 0], [100, 0]], [[50, 0], [60, 4], [100, 4]], [[100, 4], [200, 4]]],
    [(0, 1), (0, 2), (2, 3)], roads=[0, 1, 1, 2], left=[-1, 2, -1, -1], right=[-1, -1, 1, -1],
  )  # fmt: skip
  path = lanes.follow(fork, 0, np.array([0, 0]), (0, 1, 2), 150.0, CAR)
  assert path.lanes.tolist() == [0, 2, 3] and [60, 4] in path.points.tolist()
  # When the left lane cannot be entered directly, the path crosses over on road 1.
  merge = make_lanes(
    [[[0, 0], [50, 0]], [[50, 0], [110, 0]], [[50, 4], [110, 4]], [[110, 4], [200, 4]]],
    [(0, 1), (2, 3)], roads=[0, 1, 1, 2], left=[-1, 2, -1, -1], right=[-1, -1, 1, -1],
  )  # fmt: skip
  path = lanes.follow(merge, 0, np.array([0, 0]), (0, 1, 2), 150.0, CAR)
  assert path.lanes.tolist() == [0, 2, 3]
  assert np.abs(np.diff(path.points, axis=0))[:, 1].max() <= 4 and (np.diff(path.points[:, 0]) > 0).all()
  np.testing.assert_allclose(path.starts, [0, 50, 80 + np.hypot(30, 4)], rtol=1e-6)  # a 30 m diagonal


# A car's road (0) ends in a turn left (1) onto a road (3); straight on, a turning path (2) leads to a bike lane (4) of
# that road, which comes to its own road (5).
FORK = [
  [[0, 0], [50, 0]], [[50, 0], [58, 2], [60, 10]], [[50, 0], [60, 0]], [[60, 10], [60, 99]], [[60, 0], [99, 0]],
  [[99, 0], [150, 0]],
]  # fmt: skip
FORK_WAYS = [(0, 1), (0, 2), (1, 3), (2, 4), (4, 5)]
FORK_TYPES = [
  LaneType.ROAD,
  LaneType.JUNCTION,
  LaneType.JUNCTION,
  LaneType.ROAD,
  LaneType.BIKE,
  LaneType.ROAD,
]


@pytest.mark.parametrize("route", [(), (0, 9)])
def test_follow_keeps_off_lanes_that_are_closed_to_the_agent(route):
  fork = make_lanes(FORK, FORK_WAYS, roads=[0, 10, 11, 9, 9, 8])
  fork = dataclasses.replace(fork, type_L=np.array(FORK_TYPES, np.uint8))

  def driven(kind, lane=0, xy=(10, 0)):
    return lanes.follow(fork, lane, np.array(xy), route, 200.0, kind).lanes.tolist()

  for kind in (CAR, AgentType.TRUCK, AgentType.BUS, AgentType.MOTORCYCLE, AgentType.SERVICE):
    assert driven(kind) == [0, 1, 3]
  for kind in (AgentType.BICYCLE, AgentType.OTHER):
    assert driven(kind) == [0, 2, 4, 5]
  assert driven(CAR, 4, (70, 0)) == [4, 5]  # already there, whatever put it there
  assert driven(CAR, 2, (55, 0)) == [2, 4, 5]


def test_follow_ends_where_only_closed_lanes_go_on_and_changes_to_none():
  beside = make_lanes([[[0, 0], [50, 0]], [[0, 3], [50, 3]], [[50, 3], [99, 3]]], [(1, 2)], left=[1, -1, -1])
  for kind, ends in ((LaneType.ROAD, [1, 2]), (LaneType.BIKE, [0]), (LaneType.WALK, [0])):
    typed = dataclasses.replace(beside, type_L=np.array([LaneType.ROAD, kind, kind], np.uint8))
    assert lanes.follow(typed, 0, np.array([10, 0]), (), 80.0, CAR).lanes.tolist() == ends
