"""Oracles that know no closed form: the worst case is driven in small steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.safety import cut_in, safe_distance
from evaluation.safety.safe_distance import CAR, Responses

STEP = 2e-3  # s
PREVENTABLE = jax.jit(cut_in.preventable)
LEAST_GAP, COLLIDES = (jax.jit(f, static_argnums=(2, 3)) for f in (cut_in.least_gap, cut_in.collides))


def brake_to_rest(speed, by: Responses, accelerates: float, brakes: float, seconds: float) -> np.ndarray:
  """m covered [steps, n]: accelerating for rho, then braking until the speed is zero, whichever sign it has."""
  speed, at, found = np.array(speed, np.float64), np.zeros(len(speed)), []
  for t in np.arange(0, seconds, STEP):
    before = speed
    if t < by.rho:
      speed = speed + accelerates * STEP
    else:
      speed = np.sign(speed) * np.maximum(np.abs(speed) - brakes * STEP, 0.0)
    at = at + 0.5 * (before + speed) * STEP
    found.append(at)
  return np.stack(found)


def test_the_gap_to_a_leader_just_suffices_in_the_worst_case():
  rng = np.random.default_rng(0)
  rear, front = rng.uniform(0, 30, (2, 300))
  no_wait = CAR._replace(rho=0.0)
  closed = np.asarray(safe_distance.longitudinal(jnp.asarray(rear), jnp.asarray(front), CAR))
  lost = brake_to_rest(rear, CAR, CAR.accelerates, CAR.brakes_least, 9.0) - brake_to_rest(
    front, no_wait, 0.0, CAR.brakes_most, 9.0
  )
  np.testing.assert_allclose(closed, np.maximum(lost.max(0), 0.0), atol=0.05)
  assert (closed == 0).any() and (closed > 20).any()


def test_the_gap_to_oncoming_traffic_just_suffices():
  rng = np.random.default_rng(1)
  own, other = rng.uniform(0, 25, (2, 300))
  closed = np.asarray(safe_distance.oncoming(jnp.asarray(own), jnp.asarray(other), CAR))
  used = brake_to_rest(own, CAR, CAR.accelerates, CAR.brakes_in_lane, 10.0) + brake_to_rest(
    other, CAR, CAR.accelerates, CAR.brakes_least, 10.0
  )
  np.testing.assert_allclose(closed, used.max(0), atol=0.05)


def test_the_gap_beside_just_suffices_for_every_sign():
  rng = np.random.default_rng(2)
  one, other = rng.uniform(-1.5, 1.5, (2, 300))
  closed = np.asarray(safe_distance.lateral(jnp.asarray(one), jnp.asarray(other), CAR))
  used = sum(brake_to_rest(v, CAR, CAR.side_accelerates, CAR.side_brakes, 3.0) for v in (one, other))
  np.testing.assert_allclose(closed, CAR.side_margin + np.maximum(used.max(0), 0.0), atol=5e-3)
  assert (closed == np.float32(CAR.side_margin)).any()


def cases(seed: int, count: int = 400) -> cut_in.CutIn:
  rng = np.random.default_rng(seed)
  speed = rng.uniform(5, 35, count)
  other = speed * rng.uniform(0.2, 1.1, count)
  gap, lateral, ones = rng.uniform(-15, 60, count), rng.uniform(0.3, 2.5, count), np.ones(count)
  return cut_in.CutIn(
    *(jnp.asarray(x) for x in (speed, other, gap, lateral, 3.5 * ones, 1.9 * ones, 4.8 * ones))
  )


def driven(case: cut_in.CutIn, brake_from, deceleration: float, jerk: float):
  """The least gap while the boxes overlap sideways, and whether they ever touch, in small steps."""
  speed, other, gap, lateral, lane, width, length = (np.asarray(x, np.float64) for x in case)
  shed, brake, least, touches = (
    np.zeros_like(speed),
    np.zeros_like(speed),
    np.full(speed.shape, np.inf),
    False,
  )
  closing, over = np.maximum(speed - other, 0.0), (lane - width) / lateral
  passed = np.zeros(speed.shape, bool)
  for t in np.arange(0, 20, STEP):
    beside = t >= over
    passed |= beside & (t - STEP < over) & (gap < -2 * length)
    least = np.where(beside, np.minimum(least, gap), least)
    touches |= beside & (gap <= 0) & ~passed
    brake = np.where(t >= brake_from, np.minimum(brake + jerk * STEP, deceleration), 0.0)
    shed = np.minimum(shed + brake * STEP, closing)
    gap = gap - (closing - shed) * STEP
  return least, touches


def test_cut_ins_end_as_when_driven_in_small_steps():
  case = cases(0)
  brake_from = cut_in.careful_brakes(case)
  args = (brake_from, cut_in.DECELERATION, cut_in.JERK)
  least, touches = driven(case, *(np.asarray(args[0]), *args[1:]))
  np.testing.assert_allclose(LEAST_GAP(case, *args), least, atol=0.06)
  clear = (np.abs(least) > 0.1) & (np.abs(least + 9.6) > 0.1)
  np.testing.assert_array_equal(np.asarray(COLLIDES(case, *args))[clear], touches[clear])
  assert 0.1 < touches.mean() < 0.9 and clear.mean() > 0.9


def test_what_is_preventable_is_told_apart_on_a_grid():
  case = cut_in.grid([10, 20, 30], [2, 6, 12, 25], np.arange(2, 90, 2), [0.5, 1.0, 1.8])
  found = {name: np.asarray(value) for name, value in PREVENTABLE(case).items()}
  closing = case.speed - case.other_speed
  ahead = (
    case.gap - closing * np.asarray(cut_in.overlapping(case)) > -2 * case.length
  )  # else the ego may have passed
  for name, value in found.items():
    assert value.shape == (3, 4, 44, 3) and 0.1 < value.mean() < 0.95, name
    more_room, faster = np.diff(value.astype(int), axis=2), np.diff(value.astype(int), axis=1)
    assert (more_room[ahead[:, :, :-1]] >= 0).all(), f"{name}: more room never hurts"
    assert (faster[ahead[:, 1:]] <= 0).all(), f"{name}: nor does a slower approach"


def test_the_regulations_bound_is_the_time_to_collision_at_the_line():
  """10 m/s faster: 10 / 12 + 0.35 s at the crossing, which a lateral 1 m/s takes 0.8 s to reach."""
  bound = 10 * (10 / 12 + 0.35 + 0.8)
  case = cut_in.grid([20], [10], [bound - 0.01, bound + 0.01], [1.0])
  assert np.asarray(PREVENTABLE(case)["regulation"]).ravel().tolist() == [False, True]


def test_full_braking_sheds_speed_as_by_hand():
  """0.774 g is reached after 0.6 s; 0.3 s of it are lost, and so closing / a + 0.3 s pass until speeds are equal."""
  rising = cut_in.DECELERATION / cut_in.JERK
  assert rising == pytest.approx(0.6, abs=1e-3)
  case = cut_in.grid([30], [20], [50.0], [3.0])
  stopped = 20 / cut_in.DECELERATION + rising / 2
  travelled = 20 * stopped / 2 + 20 * rising / 4 - cut_in.DECELERATION * rising**2 / 24
  assert float(LEAST_GAP(case, jnp.asarray(1.0), cut_in.DECELERATION, cut_in.JERK).item()) == pytest.approx(
    50 - 20 - travelled, abs=0.01
  )
