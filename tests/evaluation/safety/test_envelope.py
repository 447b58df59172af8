import functools

import jax
import numpy as np
import pytest

from evaluation.metrics.driving_score import Episode
from evaluation.safety import envelope, safe_distance
from evaluation.safety.safe_distance import CAR

DT, T = 0.1, 60
SIZE = np.float32([4.8, 1.9])


def episode(ego_speed, other_x, other_speed, other_y=0.0, other_heading=0.0, frames=T, valid=True) -> Episode:
  """An ego along +x from the origin, and one other; every argument is a number or one per frame."""
  speed, x, v, y, heading = (
    np.broadcast_to(np.asarray(value, np.float32), T)
    for value in (ego_speed, other_x, other_speed, other_y, other_heading)
  )
  travelled = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * DT)])
  still = np.zeros(T)
  other = np.stack([x, y, heading, v], -1)[:, None]
  return Episode(
    ego_Tx4=np.stack([travelled, still, still, speed], -1).astype(np.float32), ego_size_2=SIZE,
    frames=np.int32(frames), agents_TxAx4=other.astype(np.float32), agents_size_Ax2=SIZE[None],
    agents_valid_TxA=np.full((T, 1), valid), movable_A=np.ones(1, bool), road=None, lines=None, route_Px2=None,
    reference_m=None, extended_comfort=None,
  )  # fmt: skip


@functools.cache
def _jitted():
  return jax.jit(jax.vmap(lambda one: envelope.watch(one, DT, CAR)))


def watched(*episodes: Episode) -> envelope.Watched:
  return jax.tree.map(np.asarray, _jitted()(jax.tree.map(lambda *x: np.stack(x), *episodes)))


TIME = DT * np.arange(T)
AHEAD = 60.0 + 10 * TIME  # as fast as the ego, far ahead
BRAKES = np.maximum(10.0 - 5.0 * np.maximum(TIME - 1.0, 0.0), 0.0)  # from 1 s on


def test_who_follows_at_a_distance_is_left_alone():
  one = watched(episode(10.0, AHEAD, 10.0), episode(10.0, AHEAD - 55, 10.0, other_y=3.5))
  for value in (one.danger_TxA, one.demanded_T, one.unprompted_T, one.contact_T):
    assert not value.any(), "far ahead, or near in the next lane"
  assert one.driven_T.all()


def test_the_monitor_takes_over_when_the_response_time_is_over_and_nobody_brakes():
  """A wall at 30 m: danger once the gap is less than what 10 m/s need, 20.375 m; then 0.5 s to respond."""
  one = watched(episode(10.0, 30.0, 0.0))
  needed = 10 * 0.5 + 2 * 0.5**2 / 2 + 11**2 / (2 * 4)
  begins = int(np.ceil((30 - SIZE[0] - needed) / (10 * DT)))
  assert one.danger_TxA[0, :, 0].argmax() == begins and one.danger_TxA[0, begins:-30, 0].all()
  assert np.flatnonzero(one.takes_over_T[0])[0] == begins + 5
  assert one.contact_T[0].argmax() == pytest.approx((30 - SIZE[0]) / 10 / DT, abs=1)
  counts = {name: int(value) for name, value in envelope.tally(jax.tree.map(lambda x: x[0], one), DT).items()}
  assert (counts["contacts"], counts["foreseen"], counts["takes_over"]) == (1, 1, 1)
  assert (counts["hits"], counts["misses"], counts["false_alarms"]) == (1, 0, 0)


def test_who_brakes_in_time_is_not_taken_over():
  travelled = np.concatenate([[0], np.cumsum(0.5 * (BRAKES[1:] + BRAKES[:-1]) * DT)])
  wall = SIZE[0] + travelled[10] + 16.5  # danger begins before the ego brakes, and the ego stops short of it
  one = watched(episode(BRAKES, wall, 0.0))
  assert one.danger_TxA.any() and one.demanded_T.any()
  assert not (one.ignored_T | one.takes_over_T | one.unprompted_T | one.contact_T).any()


def test_braking_for_nobody_is_a_disagreement():
  one = watched(episode(BRAKES, AHEAD, 10.0), episode(BRAKES, AHEAD, 10.0, valid=False))
  assert one.unprompted_T.sum(-1).tolist() == [20, 20] and not one.ignored_T.any()
  summed = {
    name: int(np.sum(value)) for name, value in jax.vmap(lambda each: envelope.tally(each, DT))(one).items()
  }
  rates = envelope.rates(summed)
  assert rates["disagree"] == rates["unprompted"] == pytest.approx(20 / T)
  assert rates["takes_over"] == 0 and rates["foreseen"] is None and rates["ignored"] is None


def test_oncoming_traffic_needs_more_room_than_a_wall():
  """At 10 m/s each the gap must be 23.0 and 20.4 m together: at 40 m a wall is no danger yet, the other is."""
  wall, other = watched(
    episode(10.0, 40.0 + SIZE[0], 0.0), episode(10.0, 40.0 + SIZE[0] - 10 * TIME, 10.0, other_heading=np.pi)
  ).danger_TxA[:, 0, 0]
  assert other and not wall


def test_a_cut_in_is_danger_when_it_comes_near_sideways_not_before():
  """1 m/s towards the ego: 1.41 m are needed between the sides, which are 2.31 m apart at first, as it is turned."""
  aside = np.maximum(4.5 - TIME, 0.0)
  heading = -np.arcsin(np.where(aside > 0, 1.0, 0.0) / 8.0)
  danger = watched(episode(10.0, 12.0 + 8 * TIME, 8.0, aside, heading)).danger_TxA[0, :, 0]
  assert danger.argmax() == 9 and danger[9:20].all()  # 0.895 s


def test_what_lies_behind_or_beyond_the_end_or_is_unknown():
  behind = episode(10.0, -6.0 + 11 * TIME, 11.0, frames=30)  # it runs into the ego
  cut = episode(10.0, 30.0, 0.0, frames=5)
  unknown = episode(10.0, np.where(TIME > 3, np.nan, AHEAD), 10.0)
  one = watched(behind, cut, unknown)
  assert not one.danger_TxA[:2].any() and one.driven_T[1].sum() == 5 and not one.contact_T[:2].any()
  assert one.danger_TxA[2, 31:].all() and not one.danger_TxA[2, :30].any()


def test_what_comes_after_a_take_over_is_a_hit_a_miss_or_a_false_alarm():
  """Take-overs at 1 s and 5 s; contacts at 0.9 s, too early, 4 s, just warned of, 4.1 s, too late, and 5 s, at once."""
  takes_over, contact = np.zeros((2, T), bool)
  takes_over[[10, 50]] = contact[[9, 40, 41, 50]] = True
  still = np.zeros(T, bool)
  watched = envelope.Watched(still[:, None], still, still, takes_over, still, contact, ~still)
  counts = {name: int(value) for name, value in envelope.tally(watched, DT).items()}
  assert (counts["hits"], counts["misses"], counts["false_alarms"]) == (1, 3, 1)
  rates = envelope.rates(counts)
  assert rates["hit"] == 0.25 and rates["false_alarm"] == 0.5


def test_the_careful_driver_of_the_regulation_needs_less_room_behind_a_car_that_drives():
  """At 10 m/s each: 14.1 m by the choice of CAR, 7.5 + 100/12 - 100/15.2 = 9.25 m by the regulation."""
  speed = np.float32(10)
  gaps = {
    name: float(safe_distance.longitudinal(speed, speed, by)) for name, by in safe_distance.SETS.items()
  }
  assert gaps == pytest.approx({"rss": 14.125, "r157": 9.248}, abs=1e-3)
