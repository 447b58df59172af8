"""Headings, lane changes and event tags against closed forms."""

import numpy as np
import pytest

from data import sumo_live, sumo_tracks
from data.schema import AgentType, Lanes, Signal


def two_lanes():
  """Two straight parallel lanes of one road, 3.5 m apart, lane 1 left of lane 0; lane 0 leads to lane 2."""
  points = [[[0, 0], [200, 0]], [[0, 3.5], [200, 3.5]], [[200, 0], [300, 0]]]
  return Lanes(
    xy_Nx2=np.array(points, np.float32).reshape(-1, 2),
    splits=np.array([0, 2, 4, 6], np.int32),
    width_L=np.full(3, 3.5, np.float32),
    speed_limit_L=np.full(3, 14, np.float32),
    type_L=np.zeros(3, np.uint8),
    road_L=np.array([0, 0, 1], np.int32),
    successor_Ex2=np.array([[0, 2]], np.int32),
    left_L=np.array([1, -1, -1], np.int32),
    right_L=np.array([-1, 0, -1], np.int32),
  )


def drive(speed, dt, steps, change_at):
  x = np.arange(steps) * speed * dt
  lane = np.where(np.arange(steps) >= change_at, 1, 0).astype(np.int32)
  front = np.stack([x, 3.5 * lane], -1)[:, None]
  return sumo_tracks.smooth_lane_changes(front, np.zeros((steps, 1)), lane[:, None], two_lanes(), dt)


@pytest.mark.parametrize("dt", [0.1, 0.5])
def test_lane_change_takes_its_time_and_ends_on_the_lane(dt):
  change = round(2.0 / dt)
  front, lane = drive(10.0, dt, round(10 / dt), change)
  y = front[:, 0, 1]
  duration = round(3.0 / dt)
  assert (y[:change] == 0).all() and np.allclose(y[change + duration - 1 :], 3.5)
  assert (np.diff(y) >= -1e-9).all() and 0 < y[change] < 0.4
  half = y[change + duration // 2 - 1]
  assert half == pytest.approx(1.75, abs=1e-9)
  assert (lane[:, 0] == (y >= 1.75 - 1e-9)).all()


def test_nobody_slides_sideways_in_a_queue():
  front, _ = drive(0.1, 0.5, 40, 4)
  y = front[:, 0, 1]
  assert y[-1] < 1.75
  assert (np.diff(y) <= np.diff(front[:, 0, 0]) * 1.5).all()


def test_a_successor_lane_is_no_lane_change():
  front = np.stack([np.arange(20) * 15.0, np.where(np.arange(20) > 13, 0.2, 0.0)], -1)[:, None]
  lane = np.where(np.arange(20) > 13, 2, 0).astype(np.int32)[:, None]
  moved, occupied = sumo_tracks.smooth_lane_changes(front, np.zeros((20, 1)), lane, two_lanes(), 0.5)
  assert (moved == front).all() and (occupied == lane).all()


def test_lane_courses_follow_each_lane():
  lanes = two_lanes()
  bent = np.array([[0, 0], [10, 0], [10, 10], [20, 10], [20, 0], [30, 0]], np.float32)
  bent = Lanes(**{**lanes.__dict__, "xy_Nx2": bent, "splits": np.array([0, 3, 5, 6 + 0], np.int32)})
  lane, arc = np.array([0, 0, 0, 1, 1]), np.array([0.0, 9.9, 15.0, 5.0, 99.0])
  expected = np.array([0, 0, np.pi / 2, -np.pi / 2, -np.pi / 2])
  # lane 1 runs from (20, 10) to (20, 0); beyond its end the last direction holds
  np.testing.assert_allclose(sumo_tracks.lane_courses(bent, lane, arc), expected, atol=1e-6)


def test_heading_of_a_pulled_rod_matches_the_differential_equation():
  """theta' = |v| / b sin(course - theta), integrated in small steps."""
  front = np.array([[0, 0], [2, 0.5], [3, 2], [3, 5], [2.5, 5.5], [0, 6]], float)
  length, theta = 4.0, 2.5
  rod = 0.75 * length
  valid = np.ones((len(front), 1), bool)
  got = sumo_tracks.headings(front[:, None], valid, np.array([theta]), np.array([length]))[:, 0]
  expected = [theta]
  for pull in np.diff(front, axis=0):
    course = np.arctan2(pull[1], pull[0])
    for _ in range(20000):
      theta += np.hypot(*pull) / 20000 / rod * np.sin(course - theta)
    expected.append(theta)
  np.testing.assert_allclose(np.cos(got - expected), 1, atol=1e-7)


def test_heading_keeps_still_at_standstill_and_starts_where_told():
  front = np.zeros((5, 2, 2))
  valid = np.array([[False, True]] * 2 + [[True, True]] * 3)
  got = sumo_tracks.headings(front, valid, np.array([1.0, -2.0]), np.array([4.0, 4.0]))
  np.testing.assert_allclose(got[2:, 0], 1.0)
  np.testing.assert_allclose(got[:, 1], -2.0)


def calm():
  """A leader and its follower, 40 m apart at 10 m/s on lane 0, under a green light."""
  frames = np.arange(10)
  arc = np.stack([100 + 5.0 * frames, 60 + 5.0 * frames], -1)
  return {
    "valid_TxA": np.ones((10, 2), bool),
    "lane_TxA": np.zeros((10, 2), np.int32),
    "type_A": np.full(2, int(AgentType.CAR), np.uint8),
    "velocity_TxAx2": np.full((10, 2, 2), [10.0, 0.0], np.float32),
    "size_Ax2": np.full((2, 2), [4.5, 1.8], np.float32),
    "signal_TxL": np.full((10, 3), int(Signal.GREEN), np.uint8),
  }, arc


def test_events_are_found_where_planted_and_nowhere_else():
  tracks, arc = calm()
  assert sumo_tracks.rare_events(tracks, arc, 0.5) == ()
  braking = tracks["velocity_TxAx2"].copy()
  braking[5:, 1, 0] = 7.0
  assert sumo_tracks.rare_events(tracks | {"velocity_TxAx2": braking}, arc, 0.5) == ("hard_brake",)
  braking[5:, 1, 0] = 8.0  # 4 m/s^2
  assert sumo_tracks.rare_events(tracks | {"velocity_TxAx2": braking}, arc, 0.5) == ()
  standing = {
    "velocity_TxAx2": tracks["velocity_TxAx2"] * np.float32(0.01),
    "signal_TxL": np.full((10, 3), int(Signal.RED), np.uint8),
  }
  assert sumo_tracks.rare_events(tracks | standing, arc, 0.5) == ("red_light_stop",)
  closing = tracks["velocity_TxAx2"].copy()
  closing[:, 1, 0] = 18.0  # 8 m/s faster
  near = arc + np.array([0.0, 28.0])  # a gap of 7.5 m
  assert sumo_tracks.rare_events(tracks | {"velocity_TxAx2": closing}, near, 0.5) == ("near_miss",)
  far = arc + np.array([0.0, 26.0])  # a gap of 9.5 m
  assert sumo_tracks.rare_events(tracks | {"velocity_TxAx2": closing}, far, 0.5) == ()


def test_a_live_world_draws_changes_of_lane_out_like_a_scene():
  step, steps, jump = 0.1, 60, 3.2
  front = np.stack([np.arange(steps) * 1.0, np.where(np.arange(steps) < 10, 0.0, jump)], -1)[:, None]
  live = object.__new__(sumo_live.LiveWorld)
  live.taken_N = np.zeros(1, bool)
  live._aside_N, live._since_N, live._driven_N = np.zeros(1), np.zeros(1), np.zeros(1)
  shown, here = [front[0]], np.array([0])
  for t in range(1, steps):
    pull = front[t] - front[t - 1]
    far = np.hypot(pull[:, 0], pull[:, 1])
    shown.append(live._drawn_out(here, front[t], pull, far, np.array([True]), np.zeros(1)))
  u = np.clip(np.arange(steps) - 10, 0, 30) * step / 3.0
  expected = jump * u**3 * (10 - 15 * u + 6 * u**2)
  np.testing.assert_allclose(np.array(shown)[:, 0, 1], expected, atol=1e-9)
  np.testing.assert_array_equal(np.array(shown)[:, 0, 0], front[:, 0, 0])
  assert not live._aside_N.any()
