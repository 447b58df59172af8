"""Realism: likelihoods by hand, features against closed forms, and simulators that must be told apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.metrics import realism, road
from tests.evaluation.metrics.test_road import FAR, STREET

DT, STEPS, AGENTS, ROLLOUTS = 0.1, 40, 3, 8
TIME = np.arange(STEPS) * DT
GROUND = road.make_road(STREET, 8, -FAR, FAR)
SIZE = np.tile([4.5, 1.8], (AGENTS, 1))
VALID = np.ones((STEPS, AGENTS), bool)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


_BEHAVIOUR = jax.jit(lambda state, valid, ground: realism.behaviour(state, SIZE, valid, ground, None, DT))


@jax.jit
def likelihoods(states_RxTxAx3, log_TxAx3, valid, ground, keep):
  simulated = jax.vmap(lambda state: realism.behaviour(state, SIZE, valid, ground, None, DT))(states_RxTxAx3)
  return realism.realism(
    realism.log_likelihoods(simulated, realism.behaviour(log_TxAx3, SIZE, valid, ground, None, DT), keep)
  )


def traffic(speeds, rng=None, noise=0.0):
  """[T, A, 3]: three cars in the lane eastward, 12 m apart, with speeds [A] that wander."""
  speed = np.asarray(speeds) + (
    np.cumsum(rng.normal(0, noise, (STEPS, AGENTS)), 0) if rng else np.zeros((STEPS, AGENTS))
  )
  x = 5 + np.array([0, 12, 24]) + np.cumsum(speed * DT, 0)
  return np.stack([x, np.full_like(x, 1.6), np.zeros_like(x)], -1)


def test_features_of_known_courses():
  state = traffic([8.0, 7.5, 9.0])
  value, valid = jax.tree.map(np.asarray, _BEHAVIOUR(state, VALID, GROUND))
  np.testing.assert_allclose(value["linear_speed"][1:-1], np.tile([8.0, 7.5, 9], (STEPS - 2, 1)), atol=1e-9)
  np.testing.assert_array_equal(valid["linear_speed"][[0, 1, -2, -1]].any(1), [False, True, True, False])
  assert not valid["linear_acceleration"][[0, 1, -2, -1]].any() and valid["linear_acceleration"][2:-2].all()
  gap = state[:, 1, 0] - state[:, 0, 0] - 4.5
  np.testing.assert_allclose(value["distance_to_nearest"][:, 0], gap, atol=1e-9)
  np.testing.assert_allclose(value["time_to_collision"][1:-1, 0], (gap / 0.5)[1:-1], atol=1e-9)
  assert (value["time_to_collision"][1:-1, 2] == 5).all()  # nobody ahead
  np.testing.assert_allclose(value["distance_to_road_edge"], 0.9 - 1.6, atol=1e-6)
  assert not value["collision"].any() and not value["off_road"].any() and not valid["red_light"].any()


def test_turning_is_seen_through_the_jump_of_the_angle():
  angle = 3.0 + 0.5 * TIME
  circle = np.stack([30 * np.sin(angle), -30 * np.cos(angle), (angle + np.pi) % (2 * np.pi) - np.pi], -1)
  state = np.repeat(circle[:, None], AGENTS, 1) + np.array([[0, 0, 0], [200, 0, 0], [400, 0, 0]])
  value, valid = _BEHAVIOUR(state, VALID, GROUND)
  np.testing.assert_allclose(np.asarray(value["angular_speed"])[valid["angular_speed"]], 0.5, atol=1e-9)
  np.testing.assert_allclose(np.asarray(value["angular_acceleration"]), 0, atol=1e-9)
  np.testing.assert_allclose(np.asarray(value["linear_speed"])[valid["linear_speed"]], 15, rtol=1e-3)


def test_indicators_see_contact_and_the_edge():
  state = traffic([6.0, 2.0, 2.0])
  state[:, 2, 1] -= 1.0
  value, _ = _BEHAVIOUR(state, VALID, GROUND)
  assert value["collision"].tolist() == [1, 1, 0] and value["off_road"].tolist() == [0, 0, 1]
  absent = VALID & (np.arange(AGENTS) != 1)[None]
  value, valid = _BEHAVIOUR(np.where(absent[..., None], state, np.nan), absent, GROUND)
  assert value["collision"].tolist() == [0, 0, 0] and valid["collision"].tolist() == [True, False, True]


def test_the_likelihood_is_the_smoothed_share_of_the_bin():
  shape = realism.Histogram(0, 10, 5, 1.0)
  values, known = jnp.array([1.0, 1.5, 3.0, 99.0, -7.0, jnp.nan]), jnp.array([1, 1, 1, 1, 1, 0], bool)
  log = jnp.array([0.5, 3.9, 4.0, 50.0, -1.0])  # the ends take what lies beyond; 4 belongs to the third bin
  score = jax.jit(functools.partial(realism._log_likelihood, shape=shape))
  found = np.exp(score(values, known, log))
  np.testing.assert_allclose(found, np.array([3.1, 1.1, 0.1, 1.1, 3.1]) / 5.5)
  assert np.isnan(score(values, ~known, log)).all()


def scored(states, log, valid=VALID, ground=GROUND, keep=(True,) * AGENTS):
  by_feature, meta = likelihoods(states, log, valid, ground, np.array(keep))
  return {name: float(value) for name, value in by_feature.items()}, float(meta)


def test_better_simulators_score_higher():
  rng = np.random.default_rng(0)
  speeds = [8.0, 8.0, 8.0]
  log = traffic(speeds, rng, 0.1)
  alike = np.stack([traffic(speeds, rng, 0.1) for _ in range(ROLLOUTS)])
  slow = np.stack([traffic([3.0] * 3, rng, 0.1) for _ in range(ROLLOUTS)])
  crashing = np.stack([traffic([14.0, 8, 8], rng, 0.1) for _ in range(ROLLOUTS)])
  own, good = scored(alike, log)
  assert np.isnan(own["red_light"]) and own["collision"] == pytest.approx((ROLLOUTS + 0.1) / (ROLLOUTS + 0.2))
  assert 0.5 < good < 1
  by_feature, bad = scored(crashing, log)
  assert bad < good - 0.1 and by_feature["collision"] < 0.2 and by_feature["off_road"] == own["off_road"]
  by_feature, sluggish = scored(slow, log)
  assert sluggish < good and by_feature["linear_speed"] < 0.02 and by_feature["collision"] == own["collision"]
  # One of these courses, again and again, is no distribution: what it misses costs more than what it meets gains.
  replayed = [scored(np.repeat(course[None], ROLLOUTS, 0), log)[1] for course in alike]
  assert np.mean(replayed) < good - 0.01
  assert scored(np.repeat(log[None], ROLLOUTS, 0), log)[1] > max(*replayed, good), "but the log itself"


def test_masks_maps_and_nan():
  rng = np.random.default_rng(1)
  log = traffic([8.0, 8, 8], rng, 0.1)
  states = np.stack([traffic([8.0, 8, 8], rng, 0.1) for _ in range(ROLLOUTS)])
  nowhere = GROUND._replace(mask_S=np.zeros(8, bool))
  by_feature, meta = scored(states, log, ground=nowhere)
  assert (
    np.isnan(by_feature["off_road"]) and np.isnan(by_feature["distance_to_road_edge"]) and np.isfinite(meta)
  )
  broken = states.copy()
  broken[0, 5, 0] = np.nan
  by_feature, meta = scored(broken, log)
  assert np.isnan(by_feature["linear_speed"]) and np.isnan(meta)
  gone = VALID.copy()
  gone[5, 0] = False
  assert np.isfinite(scored(np.where(gone[..., None], broken, np.nan), log, valid=gone)[1])


def test_realism_does_not_depend_on_the_frame():
  rng = np.random.default_rng(2)
  log = traffic([8.0, 7, 8], rng, 0.2)
  states = np.stack([traffic([8.0, 7, 8], rng, 0.2) for _ in range(ROLLOUTS)])
  cos, sin = np.cos(2.2), np.sin(2.2)
  turn = np.array([[cos, sin], [-sin, cos]])

  def moved(state):
    return np.concatenate([state[..., :2] @ turn + [300, -700], state[..., 2:] + 2.2], -1)

  start, step = GROUND.start_Sx2 @ turn + [300, -700], GROUND.step_Sx2 @ turn
  ground = GROUND._replace(start_Sx2=start.astype(np.float32), step_Sx2=step.astype(np.float32))
  plain, there = scored(states, log), scored(moved(states), moved(log), ground=ground)
  assert there[1] == pytest.approx(plain[1], abs=1e-9)
