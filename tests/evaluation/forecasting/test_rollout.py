"""A roll-out's draws: slot by slot in meaning, together in fact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import motion
from data.windows import WindowConfig
from evaluation.forecasting import baselines, rollout
from evaluation.forecasting.cases import make_cases
from evaluation.simulation import simulator
from experiments.config import from_dict
from experiments.configs.motion import get_config
from experiments.task import make_task
from tests.worlds import stepwise, straight_scene

DT, SLOTS = 0.5, 5
WINDOW = WindowConfig(dt=DT, steps=16, agents=SLOTS, points=16, stops=2, phases=1, least_moves=4)
TO_BATCH = make_task(from_dict(get_config("tiny").to_dict()), WINDOW, domains=1).to_batch


def settled(answer, guess_BxA):
  return simulator.settled(lambda moves, cache: (answer(moves), cache), guess_BxA, ())[0]


def _answering(reach: int):
  """answer(moves [B, A]): each slot's depends on up to `reach` slots before it; and the number of passes so far."""
  passes = []

  def answer(moves_BxA):
    jax.debug.callback(lambda: passes.append(1))
    found = []
    for slot in range(moves_BxA.shape[1]):
      seen = moves_BxA[:, max(0, slot - reach) : slot].astype(jnp.int32)
      found.append(
        (31 * seen.sum(1) + 7 * seen.max(1, initial=0) + 3 * slot + jnp.arange(len(moves_BxA))) % 50
      )
    return jnp.stack(found, 1).astype(moves_BxA.dtype)

  return answer, passes


@pytest.mark.parametrize(("reach", "most"), [(0, 2), (1, 8), (7, 8)])
def test_passes_over_all_slots_end_where_asking_one_by_one_ends(reach, most):
  answer, passes = _answering(reach)
  start = jnp.full((3, 8), 50, jnp.int16)
  one_by_one = jax.jit(lambda m: jax.lax.fori_loop(0, 8, lambda s, m: m.at[:, s].set(answer(m)[:, s]), m))(
    start
  )
  jax.effects_barrier()
  passes.clear()
  together = settled(answer, start)
  jax.effects_barrier()
  np.testing.assert_array_equal(together, one_by_one)
  assert together.dtype == jnp.int16 and len(passes) == most
  passes.clear()
  np.testing.assert_array_equal(settled(answer, together), together)
  jax.effects_barrier()
  assert len(passes) == 1, "what is settled already takes one pass to see"


def test_moves_are_sampled_from_the_model_given_the_slot_before():
  """A Markov chain over the slots of a step: moves follow its transitions, and steps do not repeat one another."""
  choices = np.array([motion.KEEP - 1, motion.KEEP, motion.KEEP + 1])
  first, then = np.array([0.6, 0.3, 0.1]), np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1], [0.3, 0.6, 0.1]])
  table = np.full((motion.VOCABULARY + 1, motion.VOCABULARY), -50.0, np.float32)
  table[motion.VOCABULARY, choices] = np.log(first)
  for move, row in zip(choices, then, strict=True):
    table[move, choices] = np.log(row)

  def apply(variables, batch):
    tokens = batch["tokens_BxTxA"].astype(jnp.int32)
    before = jnp.pad(tokens, ((0, 0), (0, 0), (1, 0)), constant_values=motion.VOCABULARY)[..., :-1]
    return variables["params"][before]

  cases = make_cases([straight_scene(70, SLOTS)], WINDOW, 3.0, 3.0, 0)
  inputs = rollout.prepare(cases.windows, TO_BATCH, cases.observed)
  roll_out = rollout.make_roll_out(stepwise(apply), cases.observed, cases.steps, DT, greedy=False)
  assert inputs["alive"].all() and inputs["alive"].shape == (1, SLOTS)
  futures = jax.jit(jax.vmap(roll_out, (None, None, 0)))(
    table, inputs, jax.random.split(jax.random.key(0), 400)
  )
  states = np.asarray(futures)[:, 0, :, 1:]
  moves = baselines.previous_moves(states.reshape(-1, motion.STATE)).reshape(states.shape[:-1])
  drawn = np.searchsorted(choices, moves)  # [400 futures, slots, 6 steps]
  np.testing.assert_array_equal(choices[drawn], moves)

  def close(found, expected, count):
    np.testing.assert_array_less(np.abs(found - expected), 4.5 * np.sqrt(expected * (1 - expected) / count))

  close(np.bincount(drawn[:, 0].ravel(), minlength=3) / drawn[:, 0].size, first, drawn[:, 0].size)
  for slot in range(1, SLOTS):
    for before in range(3):
      after = drawn[:, slot][drawn[:, slot - 1] == before]
      close(np.bincount(after, minlength=3) / len(after), then[before], len(after))
  same = (drawn[:, 0, :-1] == drawn[:, 0, 1:]).mean()
  close(same, (first**2).sum(), drawn[:, 0, 1:].size / 2)
