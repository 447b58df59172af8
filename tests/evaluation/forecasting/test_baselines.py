"""Baselines against closed forms and data with known entropy."""

import jax.numpy as jnp
import numpy as np
import pytest

from data import motion
from evaluation.forecasting import baselines

V = motion.VOCABULARY


def window(tokens_TxA, domain=0, mask=None, moving=None):
  """A window of moves; the state carries the previous one, a track's first state none."""
  tokens = np.asarray(tokens_TxA, np.int16)
  state = np.zeros((*tokens.shape, motion.STATE), np.float32)
  acceleration, yaw_rate = motion.split(tokens[:-1])
  state[1:, :, motion.ACCELERATION], state[1:, :, motion.YAW_RATE] = acceleration, yaw_rate
  return {
    "tokens_TxA": tokens,
    "mask_TxA": np.ones(tokens.shape, bool) if mask is None else np.asarray(mask),
    "moving_A": np.ones(tokens.shape[1], bool) if moving is None else np.asarray(moving),
    "state_TxAxS": state,
    "domain": np.asarray(domain, np.uint8),
  }


def markov(steps, agents, seed=0, stay=0.8, moves=(3, 50, 200, 90)):
  """Keeps the last move with probability `stay`, else draws one of the others evenly."""
  rng = np.random.default_rng(seed)
  state = rng.integers(0, len(moves), agents)
  rows = []
  for _ in range(steps):
    jump = rng.integers(1, len(moves), agents)
    state = np.where(rng.random(agents) < stay, state, (state + jump) % len(moves))
    rows.append(np.asarray(moves)[state])
  return np.stack(rows)


def mean(result, name, part="all"):
  total, count = result[name][part]
  return total.sum() / count.sum()


def test_constant_velocity_is_exact_on_straight_tracks():
  time = np.arange(12)[:, None, None]
  speed, start = np.array([[2.0, -1.0], [0.0, 0.0]]), np.array([[5.0, 5.0], [1.0, 2.0]])
  track = (start + time * speed).astype(np.float32)
  forecast = baselines.constant_velocity(jnp.asarray(track[:7]), lookback=5, steps=5)
  np.testing.assert_allclose(forecast, np.moveaxis(track[7:], 0, 1), atol=1e-5)


def test_constant_velocity_takes_the_chord_over_the_lookback():
  track = jnp.asarray(np.arange(11.0, dtype=np.float32)[:, None, None] ** 2 * np.ones((1, 1, 2), np.float32))
  forecast = baselines.constant_velocity(track, lookback=5, steps=2)
  np.testing.assert_allclose(forecast[0, :, 0], [100 + 15, 100 + 30])  # (100 - 25) / 5 per frame


def test_previous_moves_invert_the_state():
  tokens = np.arange(V)
  state = motion.step(np.zeros((V, motion.STATE), np.float32), tokens, 0.2)
  assert baselines.previous_moves(state).tolist() == tokens.tolist()
  assert baselines.previous_moves(np.zeros((1, motion.STATE))).tolist() == [motion.KEEP]


def test_tables_are_distributions():
  for name, table in baselines.fit([window(markov(50, 20))]).items():
    np.testing.assert_allclose(np.exp(table).sum(-1), 1, rtol=1e-9, err_msg=name)


def test_each_baseline_reaches_its_closed_form_on_a_markov_chain():
  tables = baselines.fit([window(markov(400, 100))])
  # Fresh data, without the first step, whose previous move is not part of the chain.
  tokens = markov(400, 100, seed=1)
  test = window(tokens, mask=np.arange(400)[:, None].repeat(100, 1) > 0)
  result = baselines.evaluate(tables, [test], 1)
  entropy_rate = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2 / 3))
  assert mean(result, "unigram") == pytest.approx(np.log(4), rel=0.01)
  assert mean(result, "bigram") == pytest.approx(entropy_rate, rel=0.01)
  # Repeating: a share of the rest falls on the move itself, (1 - e) + e / 4 = 0.8: the same chain.
  assert mean(result, "repeat") == pytest.approx(entropy_rate, rel=0.01)
  assert mean(result, "constant_velocity") == pytest.approx(np.log(V), rel=0.02)  # nobody keeps velocity here


def test_constant_velocity_tokens_follow_the_share_that_keeps():
  rng = np.random.default_rng(0)
  tokens = np.where(rng.random((300, 100)) < 0.7, motion.KEEP, rng.integers(0, V, (300, 100)))
  result = baselines.evaluate(baselines.fit([window(tokens)]), [window(tokens)], 1)
  keep = 0.7 + 0.3 / V
  expected = -keep * np.log(keep) - (1 - keep) * np.log(0.3 / V)
  assert mean(result, "constant_velocity") == pytest.approx(expected, rel=0.01)


def test_the_bigram_prior_protects_rare_moves():
  """With few data the smoothed bigram is no worse than the unigram; raw counts would be infinite."""
  rng = np.random.default_rng(0)
  draw = rng.integers(0, V, (2, 20, 10))
  tables = baselines.fit([window(draw[0])])
  result = baselines.evaluate(tables, [window(draw[1])], 1)
  assert mean(result, "bigram") == pytest.approx(mean(result, "unigram"), rel=0.05)


def test_slices_count_masked_moving_and_domains():
  mask = np.ones((4, 2), bool)
  mask[3, 0] = False
  first = window(np.full((4, 2), motion.KEEP), domain=0, mask=mask, moving=[False, True])
  second = window(np.full((4, 2), 7), domain=2)
  tables = baselines.fit([first, second])
  result = baselines.evaluate(tables, [first, second], 3)["unigram"]
  assert result["all"][1].tolist() == [7, 0, 8] and result["moving"][1].tolist() == [4, 0, 8]
  keep, seven = -tables["unigram"][0, motion.KEEP], -tables["unigram"][0, 7]
  np.testing.assert_allclose(result["all"][0], [7 * keep, 0, 8 * seven])
  np.testing.assert_allclose(result["moving"][0], [4 * keep, 0, 8 * seven])
  np.testing.assert_allclose(keep, -np.log(7.5 / (15 + V / 2)))
  stacked = {name: np.stack([first[name], second[name]]) for name in first}
  again = baselines.evaluate(baselines.fit([stacked]), [stacked], 3)["unigram"]
  np.testing.assert_allclose(again["moving"][0], result["moving"][0])
