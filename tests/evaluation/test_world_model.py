"""A simulator judged: scenarios against the log, commands, realism by second, encounters with planted faults."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import motion
from data.errors import BadInput
from data.windows import WindowConfig
from evaluation import intervals
from evaluation.forecasting.cases import LEAPT, NO_POSITION
from evaluation.metrics import realism, road
from evaluation.simulation import commands, report, scores
from evaluation.simulation.control import followers
from evaluation.simulation.scenarios import TOO_SHORT, Scenarios, make_scenarios
from evaluation.simulation.simulator import FREE
from tests.evaluation.test_forecast import scene_with
from tests.worlds import straight_scene

DT, OBSERVED, STEPS = 0.5, 3, 8
WINDOW = WindowConfig(dt=DT, steps=16, agents=4, points=16, stops=2, phases=1, least_moves=4)
SIZE_2 = np.float32([4.5, 1.8])


@pytest.fixture(scope="module")
def scenarios() -> Scenarios:
  """Six agents, turned and moved from the axes: four and two of the first piece, four of the second."""
  scene = scene_with(steps=120)
  scene.valid_TxA[40:, 1] = False  # its log ends: it is there, but nobody is asked to replay it
  return make_scenarios([scene], WINDOW, OBSERVED, STEPS, pieces=2, groups=2, seed=0)


def test_logged_moves_lead_to_the_log_in_the_frame_of_the_window(scenarios):
  now = scenarios.state_CxAxTxS[:, :, OBSERVED]
  known = scenarios.known_CxA
  assert known.sum(1).tolist() == [3, 2, 4] and known[np.arange(3), scenarios.ego_C].all()
  np.testing.assert_allclose(now[known], scenarios.windows["state_TxAxS"][:, OBSERVED][known], atol=2e-3)
  driven = motion.decode(now, scenarios.moves_NxCxA, DT)
  np.testing.assert_allclose(
    np.moveaxis(driven, 0, 2)[known], scenarios.state_CxAxTxS[:, :, OBSERVED:][known], atol=2e-3
  )
  # Everybody drives along the one lane, whatever the frame.
  ground = jax.tree.map(lambda part: part[0], scenarios.ground)
  middle = road.lateral(jnp.asarray(scenarios.state_CxAxTxS[0][known[0]][..., :2]), ground).min(-1)
  assert np.ptp(middle, axis=1).max() < 0.3


def test_logs_that_cannot_be_are_named_counted_and_survived(scenarios):
  """Beside the sound scene one that is too short, one whose agents leap, one with a velocity that is no number."""
  short, leaps, lost = scene_with(steps=40), scene_with(steps=120), scene_with(steps=120)
  leaps.position_TxAx2[20:, 1] += 60
  lost.velocity_TxAx2[0, 0] = np.nan
  sound = scene_with(steps=120)
  sound.valid_TxA[40:, 1] = False
  found = make_scenarios([sound, short, leaps, lost], WINDOW, OBSERVED, STEPS, pieces=2, groups=2, seed=0)
  assert found.faults == {TOO_SHORT: 1, LEAPT: 1, NO_POSITION: 1} and scenarios.faults == {}
  assert sorted(set(found.scene_C)) == [0, 2, 3] and np.isfinite(found.state_CxAxTxS).all()
  for number, agent in ((2, 1), (3, 0)):
    first = np.flatnonzero(found.scene_C == number)[0]
    assert agent not in found.windows["agent_A"][first][found.known_CxA[first]]
  np.testing.assert_array_equal(found.state_CxAxTxS[:3], scenarios.state_CxAxTxS)
  with pytest.raises(BadInput, match=f"{TOO_SHORT}: 2; shorten the horizon"):
    make_scenarios([short, short], WINDOW, OBSERVED, STEPS, pieces=2, groups=2, seed=0)


def test_each_command_reaches_the_ego_alone(scenarios):
  every = np.arange(len(scenarios))
  forced = commands.told(commands.nobody(scenarios), scenarios, commands.accelerate(scenarios, -4.8, 2))
  others = np.ones_like(scenarios.known_CxA)
  others[every, scenarios.ego_C] = False
  assert (forced[:, others] == FREE).all() and (forced[2:] == FREE).all()
  assert (motion.split(forced[:2, every, scenarios.ego_C])[0] == np.float32(-4.8)).all()
  replay = commands.everybody_logged(scenarios)
  np.testing.assert_array_equal(replay == FREE, np.broadcast_to(~scenarios.known_CxA, replay.shape))
  rates = [motion.split(commands.steer(scenarios, offset, 2))[1] for offset in (-0.1, 0.0, 0.1)]
  np.testing.assert_array_equal(rates[1], motion.split(commands.logged(scenarios)[:2])[1])
  assert (rates[0] < rates[1]).all() and (rates[1] < rates[2]).all()


def test_a_late_and_a_braking_ego_stay_on_their_course(scenarios):
  every = np.arange(len(scenarios))
  ego = scenarios.state_CxAxTxS[every, scenarios.ego_C, OBSERVED:]
  course = {
    name: motion.decode(ego[:, 0], moves, DT).swapaxes(0, 1)
    for name, moves in (("late", commands.late(scenarios)), ("braking", commands.brake(scenarios)))
  }
  speed = ego[:, 0, motion.SPEED]
  stop = np.hypot(*(course["braking"][:, -1, :2] - ego[:, 0, :2]).T)
  np.testing.assert_allclose(stop, speed**2 / (2 * commands.BRAKING), atol=1.0)
  assert (course["braking"][:, -1, motion.SPEED] < 0.5).all()
  late = np.hypot(*np.moveaxis(course["late"][:, 1:, :2] - ego[:, :1, :2], -1, 0))
  log = np.hypot(*np.moveaxis(ego[:, :, :2] - ego[:, :1, :2], -1, 0))
  np.testing.assert_allclose(late, log[:, :-1] + speed[:, None] * DT, atol=0.5)


def row(positions, speeds) -> np.ndarray:
  """States [A, T, S] of agents that drive along +x at constant speeds."""
  time = DT * np.arange(STEPS + 1)
  state = np.zeros((len(positions), len(time), motion.STATE), np.float32)
  state[..., :2] = np.asarray(positions)[:, None]
  state[..., 0] += np.asarray(speeds)[:, None] * time
  state[..., motion.SPEED] = np.asarray(speeds)[:, None]
  return state


def test_encounters_name_who_hits_whom():
  ground = road.make_road(straight_scene(10, 2).lanes, 4, np.full(2, -500.0), np.full(2, 500.0))
  judge = jax.jit(
    lambda state, known: scores.encounters(
      state, jnp.asarray(np.tile(SIZE_2, (3, 1))), 0, known, jax.tree.map(jnp.asarray, ground), DT
    )
  )

  def found(positions, speeds, known=(True, True, True)):
    return [float(value) for value in judge(row(positions, speeds), jnp.asarray(known))]

  ahead, behind = (20.0, 0.0), (-20.0, 0.0)
  assert found([(0, 0), ahead, behind], [8, 8, 8]) == [0, 0, 0, 0, 2]
  assert found([(0, 0), ahead, behind], [8, 8, 16]) == [1, 1, 1, 0, 2]  # run into from behind
  assert found([(0, 0), ahead, behind], [16, 8, 16]) == [1, 0, 1, 0, 2]  # runs into the one ahead
  assert found([(0, 0), ahead, behind], [8, 8, 16], (True, True, False)) == [0, 0, 0, 0, 1]
  assert found([(0, 0), ahead, (-3.0, 0)], [8, 8, 8]) == [
    0,
    0,
    0,
    0,
    2,
  ]  # touched from the start: not its doing
  left = row([(0, 0), ahead, behind], [8, 8, 8])
  left[1, 4:, 1] += 5.0
  assert float(judge(left, jnp.ones(3, bool)).off_road) == 1


def test_realism_of_a_second_is_of_its_steps_alone():
  """Roll-outs that equal the log, but for the last second, in which they run into one another."""
  log = row([(0, 0), (20, 0)], [8, 8])
  crash = log.copy()
  crash[1, 7:, 0] = crash[0, 7:, 0] + 1
  ground = jax.tree.map(
    jnp.asarray, road.make_road(straight_scene(10, 2).lanes, 4, np.full(2, -500.0), np.full(2, 500.0))
  )
  course = jax.jit(
    lambda state: scores.courses(state, jnp.tile(jnp.asarray(SIZE_2), (2, 1)), jnp.ones(2, bool), ground, DT)
  )
  simulated = jax.tree.map(lambda *parts: jnp.stack(parts), course(crash), course(crash))
  spans = [slice(3, 5), slice(7, 9)]
  before, after = scores.likelihoods(simulated, course(log), jnp.ones(2, bool), spans)
  bins = realism.FEATURES["collision"].bins
  assert np.exp(before["collision"][0] / 2) == pytest.approx(2.1 / (2 + 0.1 * bins), rel=1e-5)
  assert np.exp(after["collision"][0] / 2) == pytest.approx(0.1 / (2 + 0.1 * bins), rel=1e-5)
  assert scores.realism_of(before) > 2 * scores.realism_of(after)
  both = {
    name: tuple(np.stack(values) for values in zip(before[name], after[name], strict=True)) for name in before
  }
  np.testing.assert_allclose(scores.realism_of(both)[1], float(realism.realism(after)[1]), rtol=1e-5)


def test_spearman_is_that_of_ranks():
  x, y = np.array([1.0, 2, 3, 4, 5]), np.array([5.0, 6, 7, 8, 7])
  assert scores.spearman(x, np.exp(x)) == pytest.approx(1) and scores.spearman(x, -(x**3)) == pytest.approx(
    -1
  )
  assert scores.spearman(x, y) == pytest.approx(0.8207826816681233)
  twice = np.array([1, 1, 1, 2, 3])
  assert scores.spearman(x, y, twice) == pytest.approx(
    scores.spearman(np.repeat(x, twice), np.repeat(y, twice))
  )
  assert np.isnan(scores.spearman(x, np.ones(5)))
  assert intervals.interval(np.array([np.nan])) is None


def test_the_follower_is_the_nearest_behind_in_the_lane(scenarios):
  state = np.zeros_like(scenarios.state_CxAxTxS[:1])
  state[0, :, OBSERVED, :2] = [(0, 0), (-25, 0.5), (-12, 3.5), (-18, -0.5)]
  one = dataclasses.replace(
    scenarios,
    state_CxAxTxS=state,
    known_CxA=np.ones((1, 4), bool),
    ego_C=np.zeros(1, int),
    scene_C=np.zeros(1),
  )
  assert followers(one).tolist() == [3]
  assert followers(dataclasses.replace(one, known_CxA=np.array([[True, False, True, False]]))).tolist() == [
    -1
  ]


def test_a_claim_is_open_where_its_interval_allows_both():
  assert report.told(0.94, [0.91, 0.97], ">=", 0.9) == "met" and report.told(0.04, None, "<=", 0.05) == "met"
  assert report.told(0.88, [0.86, 0.91], ">=", 0.9) == report.told(0.049, [0.03, 0.07], "<=", 0.05) == "open"
  assert report.told(0.03, [0.01, 0.06], "<=", 0.0) == "not met"
