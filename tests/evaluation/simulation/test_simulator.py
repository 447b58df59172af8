"""The simulator: a cache changes nothing, forced moves are made and answered, windows slide as training cuts them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import context, motion
from data.windows import WindowConfig
from evaluation.forecasting import rollout
from evaluation.forecasting.cases import make_cases
from evaluation.simulation import simulator
from evaluation.simulation.simulator import FREE, Simulation
from experiments.config import from_dict
from experiments.configs.motion import get_config
from experiments.task import make_task
from models.motion import MotionModel
from models.motion_config import MotionConfig
from tests.worlds import straight_scene

DT, SLOTS = 0.5, 4
OBSERVED, STEPS = 2, 5
SHAPE = WindowConfig(dt=DT, steps=OBSERVED + STEPS, agents=SLOTS, points=16, stops=2, phases=1, least_moves=4)
TO_BATCH = make_task(from_dict(get_config("tiny").to_dict()), SHAPE, domains=1).to_batch
# Windows of four moves, two of them observed: five steps take three hops.
HOW = Simulation(OBSERVED, 4, STEPS, DT, temperature=1.0, top_p=1.0, cached=False)
LIKELIEST = dataclasses.replace(HOW, temperature=0.0)
FULL_BRAKE_LEFT = len(motion.YAW_RATES) - 1


@pytest.fixture(scope="module")
def inputs():
  """Two windows: four agents of six, then two and two empty slots; one of them is there only for a moment."""
  scene = straight_scene(50, 6)
  scene.valid_TxA[:3, 2] = False
  return rollout.prepare(make_cases([scene], SHAPE, 1.0, 2.5, 1).windows, TO_BATCH, OBSERVED)


def forced(inputs, moves=FREE):
  return np.broadcast_to(np.int32(moves), (STEPS, *inputs["alive"].shape))


def told(table):
  """A model that knows one thing: the logits that follow the move of the slot before, [V + 1, V]."""

  def apply(_, batch):
    tokens = batch["tokens_BxTxA"].astype(jnp.int32)
    return jnp.asarray(table)[
      jnp.pad(tokens, ((0, 0), (0, 0), (1, 0)), constant_values=motion.VOCABULARY)[..., :-1]
    ]

  return apply


@pytest.fixture(scope="module")
def trained(inputs):
  """A model with two pairs of layers, learned keys and adapters, and weights that make it decided."""
  config = MotionConfig(
    width=8, layers=4, head_dim=4, factors=(len(motion.ACCELERATIONS), len(motion.YAW_RATES)),
    features=context.FEATURES, steps=4, agents=SLOTS, dtype="float32", scan=True, remat="none", adapter=2, prefix=2,
    heads=0, hidden=0,
  )  # fmt: skip
  model, rng = MotionModel(config), np.random.default_rng(0)
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), inputs["batch"])["params"])
  params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)
  return model.apply, params


def test_the_cached_roll_out_is_the_uncached_one(inputs, trained):
  apply, params = trained
  states = [
    simulator.make_simulator(apply, dataclasses.replace(HOW, cached=cached))(
      params, inputs, forced(inputs), jax.random.key(3)
    )
    for cached in (False, True)
  ]
  alive = np.asarray(inputs["alive"])
  np.testing.assert_allclose(*(np.asarray(one)[alive] for one in states), rtol=0, atol=1e-5)
  assert np.ptp(np.asarray(states[0])[alive][..., motion.ACCELERATION]) > 1


def test_a_step_with_its_cache_gives_the_logits_of_the_whole_window(inputs, trained):
  apply, params = trained
  batch, valid = inputs["batch"], np.asarray(inputs["batch"]["valid_BxTxA"])
  step = jax.jit(
    lambda cache, batch, at: apply({"params": params, "cache": cache}, batch, at, mutable=["cache"])
  )
  fill = jax.jit(lambda batch: apply({"params": params}, batch, mutable=["cache"]))
  whole, kept = fill(batch)
  later = batch | {"features_BxTxAxF": batch["features_BxTxAxF"].copy()}
  later["features_BxTxAxF"][:, 3:] += 1.0
  logits, again = step(kept["cache"], later, 3)
  expected = np.asarray(fill(later)[0])[:, 3]
  np.testing.assert_allclose(np.asarray(logits)[:, 0][valid[:, 3]], expected[valid[:, 3]], atol=1e-5)
  assert np.abs(expected - np.asarray(whole)[:, 3])[valid[:, 3]].max() > 0.1, "the change is no small one"
  # What a stale cache gives is not that: an earlier step has changed behind its back.
  later["features_BxTxAxF"][:, 1] += 1.0
  stale, _ = step(again["cache"], later, 3)
  assert np.abs(np.asarray(stale)[:, 0] - np.asarray(fill(later)[0])[:, 3])[valid[:, 3]].max() > 0.1


def test_forced_moves_are_made_exactly_and_the_others_answer(inputs):
  """Slots repeat the move of the one before: what the first is told, everyone of its window does."""
  table = np.full((motion.VOCABULARY + 1, motion.VOCABULARY), -50.0, np.float32)
  table[np.arange(motion.VOCABULARY), np.arange(motion.VOCABULARY)] = 50.0
  table[motion.VOCABULARY, motion.KEEP] = 50.0
  simulate = simulator.make_simulator(told(table), HOW)
  moves_NxBxA = forced(inputs).copy()
  moves_NxBxA[:, 0, 0] = np.arange(STEPS) * 40 + 3
  moves_NxBxA[2:, 1, 1] = FULL_BRAKE_LEFT
  states = np.asarray(simulate({}, inputs, moves_NxBxA, jax.random.key(0)))
  expected = np.full_like(moves_NxBxA, motion.KEEP)
  expected[:, 0] = moves_NxBxA[:, 0, :1]
  expected[2:, 1, 1:] = FULL_BRAKE_LEFT
  decoded = motion.decode(inputs["state"], expected, DT).transpose(1, 2, 0, 3)
  alive = np.asarray(inputs["alive"])
  np.testing.assert_allclose(states[alive], decoded[alive], atol=1e-4)


def test_a_window_slides_into_the_frame_of_its_first_step(inputs):
  """The last answer names the distance from where the ego was at the start of the third window, in 2 m."""

  def apply(_, batch):
    ahead = batch["features_BxTxAxF"][..., context.PLACE.start].astype(jnp.float32)
    ahead *= 50 * context.SPREAD[context.PLACE.start]
    return 50.0 * jax.nn.one_hot(jnp.round(ahead / 2).astype(jnp.int32) % 250, motion.VOCABULARY)

  moves_NxBxA = forced(inputs, motion.KEEP).copy()
  moves_NxBxA[-1] = FREE
  states = np.asarray(simulator.make_simulator(apply, LIKELIEST)({}, inputs, moves_NxBxA, jax.random.key(0)))
  now, then = states[:, :, STEPS - 1, motion.X], states[:, :1, STEPS - 1 - OBSERVED, motion.X]
  found = states[:, :, STEPS, [motion.ACCELERATION, motion.YAW_RATE]]
  named = np.stack(motion.split(np.round((now - then) / 2).astype(int) % 250), -1)
  alive = np.asarray(inputs["alive"])
  np.testing.assert_allclose(found[alive], named[alive], atol=1e-6)


def test_temperature_and_top_p_have_their_limits():
  logits_NxV = jnp.log(jnp.asarray([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]]))

  def shares(temperature, top_p):
    how = dataclasses.replace(HOW, temperature=temperature, top_p=top_p)
    return np.asarray(jax.nn.softmax(simulator.scores(logits_NxV, how)))

  np.testing.assert_array_equal(simulator.scores(logits_NxV, HOW), logits_NxV)
  np.testing.assert_allclose(shares(1.0, 0.7), [[0.625, 0.375, 0, 0], [0, 0, 3 / 7, 4 / 7]], atol=1e-6)
  np.testing.assert_allclose(shares(1.0, 1e-9), [[1, 0, 0, 0], [0, 0, 0, 1]], atol=1e-6)
  np.testing.assert_allclose(shares(0.5, 1.0)[0], np.array([25, 9, 2.25, 0.25]) / 36.5, atol=1e-6)
  np.testing.assert_allclose(shares(1e-3, 1.0), [[1, 0, 0, 0], [0, 0, 0, 1]], atol=1e-6)
  noise = jax.random.gumbel(jax.random.key(0), (64, 2, 4))
  cold = simulator.scores(logits_NxV, dataclasses.replace(HOW, temperature=1e-4))
  greedy = simulator.scores(logits_NxV, LIKELIEST).argmax(-1)
  np.testing.assert_array_equal((cold[None] + noise).argmax(-1), np.broadcast_to(greedy, (64, 2)))
