"""Forecasts: cases against the log, roll-outs against closed forms and the model itself, the report."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import context, motion
from data.errors import BadInput
from data.schema import Signal
from data.windows import WindowConfig, surroundings
from evaluation import forecast
from evaluation.forecasting import baselines, rollout
from evaluation.forecasting.cases import make_cases
from evaluation.simulation import simulator
from experiments.config import from_dict
from experiments.configs.motion import get_config
from experiments.task import make_task
from tests.worlds import stepwise, straight_scene

DT = 0.5
WINDOW = WindowConfig(dt=DT, steps=16, agents=4, points=16, stops=2, phases=1, least_moves=4)
ROOT = pathlib.Path(__file__).resolve().parents[2]


def scene_with(agents=6, steps=70, seed=0):
  """Six agents need two groups; beside one another, turned and moved from the axes, so that frames matter."""
  scene = straight_scene(steps, agents, seed)
  scene.position_TxAx2[..., 1] = 0.4 * np.arange(agents)
  turn = np.array([[np.cos(2.0), np.sin(2.0)], [-np.sin(2.0), np.cos(2.0)]])
  lanes = dataclasses.replace(scene.lanes, xy_Nx2=(scene.lanes.xy_Nx2 @ turn + [40, -9]).astype(np.float32))
  return dataclasses.replace(
    scene, lanes=lanes, position_TxAx2=(scene.position_TxAx2 @ turn + [40, -9]).astype(np.float32),
    heading_TxA=scene.heading_TxA + np.float32(2.0),
    velocity_TxAx2=(scene.velocity_TxAx2 @ turn).astype(np.float32),
  )  # fmt: skip


TASK = make_task(from_dict(get_config("tiny").to_dict()), WINDOW, domains=1)
to_batch = TASK.to_batch


def test_cases_hold_the_log_of_every_slot():
  scene = scene_with()
  scene.valid_TxA[35:, 5] = False  # leaves: seen by the others, not scored
  cases = make_cases([scene], WINDOW, 3.0, 3.0, 0)
  assert (cases.observed, cases.steps, cases.stride, cases.left_out) == (6, 6, 5, 0)
  assert cases.frame_s == pytest.approx(0.1) and cases.scored_BxA.sum() == 5
  logged = [scene.position_TxAx2[:61, a] for a in range(5)]
  scored = np.argwhere(cases.scored_BxA)
  whole = [np.concatenate([cases.history_BxHxAx2[b, :, a], cases.truth_BxAxNx2[b, a]]) for b, a in scored]
  assert len(whole) == 5
  for track in logged:
    assert sum(np.array_equal(track, other) for other in whole) == 1
  back = cases.to_scene(cases.windows["truth_TxAx2"].swapaxes(1, 2))
  for (b, a), track in zip(scored, whole, strict=True):
    np.testing.assert_allclose(back[b, a, :7], track[:31:5], atol=1e-4)


def test_pieces_are_disjoint_and_limited():
  scene = scene_with(agents=2, steps=130)
  both = make_cases([scene], WINDOW, 3.0, 3.0, 0)
  assert both.scored_BxA.sum() == 4 and make_cases([scene], WINDOW, 3.0, 3.0, 1).scored_BxA.sum() == 2
  starts = both.history_BxHxAx2[:, 0].reshape(-1, 2)
  assert all(any(np.array_equal(scene.position_TxAx2[60, a], s) for s in starts) for a in range(2))


@pytest.mark.parametrize(
  ("observed", "horizon", "says"),
  [
    (3.2, 3.0, "multiples of the token period"),
    (3.0, 6.0, "exceed the model's window"),
    (2.0, 6.0, "no agent"),
  ],
)
def test_impossible_times_are_refused(observed, horizon, says):
  with pytest.raises(BadInput, match=says):
    make_cases([scene_with(steps=62)], WINDOW, observed, horizon, 0)


def test_nothing_after_the_last_observed_frame_reaches_the_model():
  scene, other = scene_with(), scene_with()
  for one in (scene, other):
    one.signal_TxL[:] = Signal.GREEN  # that there is a light belongs to the map
  other.position_TxAx2[31:] += np.float32(1.5)
  other.heading_TxA[31:] += np.float32(0.1)
  other.velocity_TxAx2[31:] *= 2
  other.signal_TxL[31:] = Signal.RED
  other.valid_TxA[33:, 1] = False
  for one in (scene, other):
    one.valid_TxA[:30, 3] = False  # comes in the last observed frame,
    one.valid_TxA[:, 0] = False
  other.valid_TxA[31:, 3] = False  # and leaves at once or stays
  other.valid_TxA[36:, 0] = True  # the ego of the scene comes too late to be known
  inputs = [
    rollout.prepare(make_cases([s], WINDOW, 3.0, 3.0, 0).windows, to_batch, 6) for s in (scene, other)
  ]
  for one in inputs:
    del one["batch"]["moving_BxA"]  # a label; the model does not read it
  jax.tree.map(np.testing.assert_array_equal, *inputs)
  other.position_TxAx2[30] += np.float32(1.5)
  changed = rollout.prepare(make_cases([other], WINDOW, 3.0, 3.0, 0).windows, to_batch, 6)
  assert not np.array_equal(changed["state"], inputs[0]["state"])


def certain(choose):
  """A model that is sure: choose(tokens [B, T, A], t, a) -> the move of (t, a)."""

  def apply(_, batch):
    tokens = batch["tokens_BxTxA"].astype(jnp.int32)
    _, steps, agents = tokens.shape
    rows = [
      [jnp.broadcast_to(choose(tokens, t, a), tokens.shape[:1]) for a in range(agents)] for t in range(steps)
    ]
    moves = jnp.stack([jnp.stack(row, -1) for row in rows], 1)
    return 50.0 * jax.nn.one_hot(moves, motion.VOCABULARY)

  return stepwise(apply)


def rolled(apply, cases, greedy, key=0):
  inputs = rollout.prepare(cases.windows, to_batch, cases.observed)
  roll_out = rollout.make_roll_out(apply, cases.observed, cases.steps, DT, greedy)
  return np.asarray(roll_out({}, inputs, jax.random.key(key))), inputs


@pytest.mark.parametrize("greedy", [True, False])
def test_a_sure_model_is_followed_exactly(greedy):
  brake_left = 3 * len(motion.YAW_RATES) + 11
  cases = make_cases([scene_with()], WINDOW, 3.0, 3.0, 0)
  states, inputs = rolled(certain(lambda tokens, t, a: jnp.asarray(brake_left)), cases, greedy)
  tokens = np.full((6, *inputs["alive"].shape), brake_left)
  expected = motion.decode(inputs["state"], tokens, DT)
  alive = inputs["alive"]
  np.testing.assert_allclose(states.transpose(2, 0, 1, 3)[:, alive], expected[:, alive], atol=1e-3)


def test_agents_move_one_after_the_other_and_remember():
  """Each move counts on from the agent before in the same step; the first from its own last move."""

  def choose(tokens, t, a):
    return (tokens[:, t, a - 1] + 1 if a else tokens[:, t - 1, 0] + 10 if t else tokens[:, 0, 0] * 0) % 250

  cases = make_cases([scene_with()], WINDOW, 3.0, 3.0, 0)
  states, inputs = rolled(certain(choose), cases, True)
  moves = baselines.previous_moves(states[:, :, 1:].reshape(-1, motion.STATE)).reshape(
    states[:, :, 1:].shape[:3]
  )
  for b in range(len(moves)):
    first = int(inputs["batch"]["tokens_BxTxA"][b, 5, 0]) + 10
    expected = [[(first + 10 * t) % 250 + a for t in range(6)] for a in range(4)]
    assert moves[b].tolist() == [[m % 250 for m in row] for row in expected]


def test_greedy_moves_are_the_models_own_choice_given_the_simulated_past():
  """The whole roll-out fed back in one pass: at every future place the model's best is what was rolled."""
  cases = make_cases([scene_with()], WINDOW, 3.0, 3.0, 0)
  model = TASK.model
  batch = to_batch(cases.windows)
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), batch)["params"])
  rng = np.random.default_rng(0)
  params = jax.tree_util.tree_map_with_path(
    lambda path, leaf: np.float32(rng.normal(0, 0.0 if "bias" in str(path) else 0.4, leaf.shape)), shapes
  )

  inputs = rollout.prepare(cases.windows, to_batch, 6)
  roll_out = rollout.make_roll_out(model.apply, 6, 6, DT, True)
  states = np.asarray(roll_out(params, inputs, jax.random.key(0)))
  whole = simulator.Simulation(6, 12, 6, DT, temperature=0.0, top_p=1.0, cached=False)
  free = np.full((6, *inputs["alive"].shape), simulator.FREE)
  slow = simulator.make_simulator(model.apply, whole)(params, inputs, free, jax.random.key(0))
  np.testing.assert_allclose(states, slow, rtol=0, atol=1e-5)  # the cache changes nothing
  moves = baselines.previous_moves(states[:, :, 1:].reshape(-1, motion.STATE)).reshape(
    states[:, :, 1:].shape[:3]
  )
  tokens, features = inputs["batch"]["tokens_BxTxA"].copy(), inputs["batch"]["features_BxTxAxF"].copy()
  tokens[:, 6:] = moves.swapaxes(1, 2)
  alive = np.broadcast_to(inputs["alive"][:, None], (len(tokens), 6, 4))
  future = states[:, :, :-1].swapaxes(1, 2) * alive[..., None]
  around = surroundings(cases.windows | {"signal_TxAxQ": cases.windows["signal_TxAxQ"][:, 6:]})
  features[:, 6:] = context.features(future, alive, around).astype(np.float16)
  fed_back = inputs["batch"] | {"tokens_BxTxA": tokens, "features_BxTxAxF": features}
  logits = jax.jit(model.apply)({"params": params}, fed_back)
  best = np.asarray(logits)[:, 6:].argmax(-1)
  assert len(np.unique(best[alive])) > 2  # it does not always say the same
  assert (best[alive] == tokens[:, 6:][alive]).mean() > 0.97  # a float16 step may tip a near tie


def test_what_the_run_is_blind_to_stays_hidden_in_the_future():
  def blind(windows):
    batch = to_batch(windows)
    features = batch["features_BxTxAxF"].copy()
    features[..., context.MAP] = 0
    return batch | {"features_BxTxAxF": features}

  def sees_the_map(_, batch):
    seen = (batch["features_BxTxAxF"][..., context.MAP] != 0).any(-1)
    return 50.0 * jax.nn.one_hot(jnp.where(seen, 3, motion.KEEP), motion.VOCABULARY)

  cases = make_cases([scene_with()], WINDOW, 3.0, 3.0, 0)
  for hide, move in ((to_batch, 3), (blind, motion.KEEP)):
    inputs = rollout.prepare(cases.windows, hide, 6)
    states = np.asarray(
      rollout.make_roll_out(stepwise(sees_the_map), 6, 6, DT, True)({}, inputs, jax.random.key(0))
    )
    assert (baselines.previous_moves(states[inputs["alive"], 1:].reshape(-1, motion.STATE)) == move).all()


def test_forecasts_start_at_the_logged_position_and_reach_the_log_rate():
  cases = make_cases([scene_with()], WINDOW, 3.0, 3.0, 0)
  apply = certain(lambda tokens, t, a: jnp.asarray(motion.KEEP))
  likeliest, futures = rollout.predict(apply, {}, to_batch, cases, DT, 2, 0)
  assert likeliest.shape == (1, *cases.truth_BxAxNx2.shape) and futures.shape == (
    2,
    *cases.truth_BxAxNx2.shape,
  )
  inputs = rollout.prepare(cases.windows, to_batch, 6)
  for b, a in np.argwhere(cases.scored_BxA):
    speed = inputs["state"][b, a, motion.SPEED]
    gone = np.hypot(*(likeliest[0, b, a] - cases.history_BxHxAx2[b, -1, a]).T)
    np.testing.assert_allclose(gone, speed * 0.1 * np.arange(1, 31), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.hypot(*(likeliest[0, b, a] - cases.truth_BxAxNx2[b, a]).T).max(), 0, atol=4)


def test_the_report_has_closed_form_errors():
  """Two accelerate by 1 m/s^2, one has come to rest: constant velocity from the last 0.5 s misses t^2 / 2 + 0.25 t."""
  scene = scene_with(agents=3, steps=61)
  time = 0.1 * np.arange(61)
  along = np.array([np.cos(2.0), np.sin(2.0)])
  travelled = np.stack(
    [30 + 2 * time + time**2 / 2, 15 + 2 * time + time**2 / 2, np.minimum(3 * time, 6)], -1
  )
  scene.position_TxAx2[:] = travelled[..., None] * along
  scene.velocity_TxAx2[:] = np.gradient(scene.position_TxAx2, 0.1, axis=0)
  cases = make_cases([scene], WINDOW, 3.0, 3.0, 0)
  truth = cases.truth_BxAxNx2[None]
  aside = np.stack([truth[0] + [0.0, 3.0], truth[0] + [0.0, 1.0]])
  result = forecast.report(cases, truth, aside, aside[:1])
  ahead = 0.1 * np.arange(1, 31)
  miss = ahead**2 / 2 + 0.25 * ahead
  moving, everyone = result["moving"], result["all"]
  assert (moving["n_agents"], everyone["n_agents"], result["left_out"]) == (2, 3, 0)
  assert moving["constant_velocity"]["minADE_1"] == pytest.approx(miss.mean(), rel=1e-4)
  assert moving["constant_velocity"]["minFDE_1"] == pytest.approx(miss[-1], rel=1e-4)
  assert everyone["constant_velocity"]["minFDE_1"] == pytest.approx(miss[-1] * 2 / 3, rel=1e-4)
  assert everyone["constant_velocity"]["miss_rate_1"] == pytest.approx(2 / 3)
  assert moving["minADE_1"] == 0 and moving["minFDE_2"] == pytest.approx(1, rel=1e-5)
  assert moving["likeliest"]["minFDE_1"] == pytest.approx(3, rel=1e-5) and moving["miss_rate_2"] == 0
  assert "constant velocity" in forecast.table(result)
  json.dumps(result, allow_nan=False)
  assert result["by_domain"] == {"straight": {part: result[part] for part in ("all", "moving")}}
  assert moving["ci95"]["minADE_2"] is None, "of one scene"
  assert everyone["top_fde_2"] == everyone["minFDE_2"] and everyone["top_missed_2"] == 0
  together = result["joint"]
  assert (together["n_windows"], together["world_collision_rate_2"]) == (1, 0)
  assert together["worldFDE_2"] == pytest.approx(1, rel=1e-5)
  assert together["constant_velocity"]["worldFDE_1"] == pytest.approx(miss[-1] * 2 / 3, rel=1e-4)
  assert together["constant_velocity"]["world_miss_rate_1"] == pytest.approx(2 / 3)
  slots = np.flatnonzero(cases.scored_BxA[0])
  mixed = np.repeat(truth, 2, 0)
  for world in (0, 1):
    mixed[world, 0, slots[world], :, 1] += 3  # each agent is right in a world, but in no world are all
  assert forecast.joint(cases, mixed)["worldFDE_2"] == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("program", ["forecast", "token_table"])
def test_an_output_that_is_a_file_is_refused_before_the_run_is_opened(tmp_path, program):
  (tmp_path / "out").write_text("mine")
  command = [sys.executable, "-m", f"evaluation.{program}", f"--run={tmp_path}", f"--out={tmp_path / 'out'}"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 2 and "give a directory as --out" in done.stderr
  assert (tmp_path / "out").read_text() == "mine"


def test_a_directory_that_is_no_run_exits_2_and_writes_nothing(tmp_path):
  command = [
    sys.executable,
    "-m",
    "evaluation.forecast",
    f"--run={tmp_path / 'run'}",
    f"--out={tmp_path / 'out'}",
  ]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 2 and str(tmp_path / "run") in done.stderr and "Traceback" not in done.stderr
  assert not (tmp_path / "out").exists()
