"""Displacement errors against closed forms in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.metrics import displacement


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


STEPS = np.arange(1, 6, dtype=np.float64)
# Agent 0 drives 2 m per step along x, agent 1 stands.
TRUTH = jnp.array(np.stack([np.stack([2 * STEPS, 0 * STEPS], -1), np.zeros((5, 2))]))
VALID = jnp.ones((2, 5), bool)


def offset(by):
  """The truth, missed by `by[n]` metres sideways at step n."""
  return TRUTH + jnp.stack([jnp.zeros(5), jnp.asarray(by, jnp.float64)], -1)[None]


def test_ade_is_the_mean_and_fde_the_end_of_the_distance():
  forecast = TRUTH + jnp.array([3.0, 4.0])[None, None] * jnp.array(STEPS)[None, :, None]  # 5 n metres off
  np.testing.assert_allclose(displacement.ade(forecast, TRUTH, VALID), [15, 15], rtol=1e-14)
  np.testing.assert_allclose(displacement.fde(forecast, TRUTH, VALID), [25, 25], rtol=1e-14)


def test_the_mode_is_chosen_by_its_end_point():
  early, late = offset([4, 3, 2, 1, 0.5]), offset([0, 0, 0, 0, 1.0])
  modes = jnp.stack([late, early])
  assert displacement.best_mode(modes, TRUTH, VALID).tolist() == [1, 1]
  np.testing.assert_allclose(displacement.min_fde(modes, TRUTH, VALID), [0.5, 0.5])
  np.testing.assert_allclose(
    displacement.min_ade(modes, TRUTH, VALID), [2.1, 2.1]
  )  # not the 0.2 of the other


def test_each_agent_has_its_own_best_mode_and_the_first_wins_a_tie():
  good, bad = offset([0.0] * 5), offset([3.0] * 5)
  modes = jnp.stack([jnp.stack([good[0], bad[1]]), jnp.stack([bad[0], good[1]]), good])
  assert displacement.best_mode(modes, TRUTH, VALID).tolist() == [0, 1]
  assert displacement.min_ade(modes, TRUTH, VALID).tolist() == [0, 0]


def test_a_miss_is_strictly_beyond_two_metres():
  modes = jnp.stack([offset([9, 9, 9, 9, 2.0]), offset([0, 0, 0, 0, 2.5])])
  assert displacement.missed(modes, TRUTH, VALID).tolist() == [False, False]
  assert displacement.missed(modes + 1e-9, TRUTH, VALID).tolist() == [True, True]


def test_masked_steps_do_not_count_and_their_values_do_not_matter():
  valid = jnp.array([[True, False, True, True, True], [True, True, True, True, False]])
  truth = jnp.where(valid[..., None], TRUTH, jnp.nan)
  forecast = offset([1, 100, 1, 1, 5])
  np.testing.assert_allclose(displacement.ade(forecast, truth, valid), [2, 103 / 4])
  pairs = displacement.forecast_errors(forecast[None], truth, valid, jnp.ones(2, bool))
  assert [(float(s), int(n)) for s, n in pairs.values()] == [(2, 1), (5, 1), (1, 1)]  # agent 1 has no end


def test_nan_forecasts_are_shown():
  forecast = offset([0.0] * 5).at[0, 4, 0].set(jnp.nan)
  pairs = displacement.forecast_errors(
    jnp.stack([forecast, offset([0.0] * 5)]), TRUTH, VALID, jnp.ones(2, bool)
  )
  assert np.isnan(pairs["minFDE"][0]) and np.isnan(pairs["minADE"][0])
  assert float(pairs["miss_rate"][0]) == 1


def test_moving_agents_end_more_than_three_metres_away():
  last = jnp.array([[0.0, 0.0], [0.0, 0.0]])
  assert displacement.moving(last, TRUTH, VALID).tolist() == [True, False]
  assert displacement.moving(last, TRUTH * 0.3, VALID).tolist() == [False, False]  # exactly 3 m
  assert displacement.moving(last, TRUTH, VALID.at[0, 4].set(False)).tolist() == [False, False]


def test_sums_and_counts_merge_across_batches_under_jit_and_vmap():
  rng = np.random.default_rng(0)
  forecast, truth = jnp.array(rng.normal(size=(4, 6, 3, 5, 2))), jnp.array(rng.normal(size=(4, 3, 5, 2)))
  valid, keep = jnp.array(rng.random((4, 3, 5)) < 0.8), jnp.array(rng.random((4, 3)) < 0.7)
  pairs = jax.jit(jax.vmap(displacement.forecast_errors))(forecast, truth, valid, keep)
  errors = np.hypot(*np.moveaxis(np.asarray(forecast - truth[:, None]), -1, 0))  # B K A N
  best = errors[..., -1].argmin(1)
  use = np.asarray(keep & valid[..., -1])
  total = total_ade = 0.0
  for b, a in zip(*use.nonzero(), strict=True):
    total += errors[b, best[b, a], a, -1]
    total_ade += errors[b, best[b, a], a][np.asarray(valid[b, a])].mean()
  assert 3 < use.sum() == pairs["minFDE"][1].sum()
  assert float(pairs["minFDE"][0].sum()) == pytest.approx(total, rel=1e-12)
  assert float(pairs["minADE"][0].sum()) == pytest.approx(total_ade, rel=1e-12)


def test_brier_variants_add_the_penalty_of_the_mode_that_is_chosen_first():
  far, near = offset([1, 1, 1, 1, 1.0]), offset([1, 1, 1, 1, 0.9])
  probability = jnp.array([[1.0, 0.0], [0.25, 0.0]])
  keep = jnp.ones(2, bool)
  pairs = displacement.brier_errors(jnp.stack([far, near]), probability, TRUTH, VALID, keep)
  # The other mode would sum to 1.0 for agent 0; a probability of zero costs one metre, no more.
  assert float(pairs["brier_minFDE"][0]) == pytest.approx(0.9 + 0.75**2 + 0.9 + 1)
  assert float(pairs["brier_minADE"][0]) == pytest.approx(0.98 + 0.75**2 + 0.98 + 1)


def test_what_is_no_probability_is_shown():
  penalty = displacement.brier_penalty(jnp.array([[0.0, 1.0, -1e-9, 1.1, jnp.nan]]))
  np.testing.assert_array_equal(penalty, [[1, 0, np.nan, np.nan, np.nan]])
  shares = displacement.normalised(jnp.array([[1.0, 0.0], [3.0, 0.0]]))
  np.testing.assert_array_equal(shares, [[0.25, np.nan], [0.75, np.nan]])
