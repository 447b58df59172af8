"""Calibration and discrimination: closed forms, scipy and brute force, and what a wrong binning would pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from evaluation.metrics import calibration, discrimination
from evaluation.metrics.calibration import EQUAL_MASS, EQUAL_WIDTH

_ECE = jax.jit(calibration.calibration_error, static_argnums=(3, 4))
_AUC = jax.jit(discrimination.auc)
N = 400


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def draws(seed):
  rng = np.random.default_rng(seed)
  confidence = rng.random(N) ** 2
  return confidence, rng.random(N) < confidence, rng.random(N) < 0.7


@pytest.mark.parametrize("binning", [EQUAL_WIDTH, EQUAL_MASS])
def test_calibration_error_equals_brute_force(binning):
  confidence, correct, keep = draws(0)
  confidence[:40] = confidence[0]  # ties stay in their order
  p, y = confidence[keep], correct[keep]
  if binning == EQUAL_WIDTH:
    parts = [(p > b / 10) & (p <= (b + 1) / 10) for b in range(10)]
  else:
    order = np.argsort(p, kind="stable")
    parts = [order[[k for k in range(len(p)) if k * 10 // len(p) == b]] for b in range(10)]
  expected = sum(abs(y[part].sum() - p[part].sum()) for part in parts) / len(p)
  assert float(_ECE(confidence, correct, keep, 10, binning)) == pytest.approx(expected, abs=1e-12)


def test_the_binning_matters_and_must_be_named():
  """All confidences in one bin of equal width: over- and underconfidence cancel there, not in bins of equal mass."""
  confidence = np.repeat([0.91, 0.99], N // 2)
  correct = np.arange(N) % 100 < np.where(confidence > 0.95, 91, 99)
  keep = np.ones(N, bool)
  assert float(_ECE(confidence, correct, keep, 2, EQUAL_WIDTH)) == pytest.approx(0, abs=1e-12)
  assert float(_ECE(confidence, correct, keep, 2, EQUAL_MASS)) == pytest.approx(0.08)
  with pytest.raises(ValueError, match="binning"):
    calibration.calibration_error(confidence, correct, keep, 10, "quantile")


def test_what_does_not_count_may_hold_anything_and_nan_is_shown():
  confidence, correct, keep = draws(1)
  plain = float(_ECE(confidence, correct, keep, 10, EQUAL_MASS))
  confidence[~keep] = np.nan
  assert float(_ECE(confidence, correct, keep, 10, EQUAL_MASS)) == plain
  confidence[keep.argmax()] = np.nan
  assert np.isnan(float(_ECE(confidence, correct, keep, 10, EQUAL_MASS)))
  assert np.isnan(float(_ECE(confidence, correct, np.zeros(N, bool), 10, EQUAL_WIDTH)))


def test_scores_by_hand():
  probability = jnp.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [np.nan] * 3])
  outcome, keep = jnp.array([0, 1, 0, 0]), jnp.array([True, True, True, False])
  total, count = calibration.brier(probability, outcome, keep)
  assert (float(total), int(count)) == (pytest.approx(0.09 + 0.04 + 0.01 + 0.64 + 0.09 + 0.25), 3)
  total, count = calibration.nll(jnp.log(probability), outcome, keep)
  assert (float(total), int(count)) == (pytest.approx(-np.log(0.7) - np.log(0.2)), 3)
  assert np.isnan(float(calibration.brier(probability, outcome, ~keep)[0]))


def test_the_brier_score_is_proper():
  """Stating the frequencies beats any other statement; a score by the likeliest class alone would not see it."""
  outcome = jnp.array([0] * 6 + [1] * 4)
  scores = [
    float(calibration.brier(jnp.tile(jnp.array([[p, 1 - p]]), (10, 1)), outcome, jnp.ones(10, bool))[0])
    for p in (0.5, 0.6, 0.7)
  ]
  assert scores[1] < min(scores[0], scores[2])


def test_auc_equals_the_statistic_of_mann_and_whitney_with_ties():
  rng = np.random.default_rng(2)
  score, positive, keep = rng.integers(0, 30, N).astype(float), rng.random(N) < 0.3, rng.random(N) < 0.8
  score[~keep] = np.nan
  one, other = score[keep & positive], score[keep & ~positive]
  expected = mannwhitneyu(one, other).statistic / (len(one) * len(other))
  assert float(_AUC(score, positive, keep)) == pytest.approx(expected, abs=1e-12)
  assert float(_AUC(-score, positive, keep)) == pytest.approx(1 - expected, abs=1e-12)
  assert float(_AUC(0 * rng.random(N), positive, keep)) == 0.5
  assert np.isnan(float(_AUC(rng.random(N), np.ones(N, bool), keep)))
  score[keep.argmax()] = np.nan
  assert np.isnan(float(_AUC(score, positive, keep)))


def test_occupancy_by_hand():
  true = jnp.array([1, 1, 0, 0, 1, 0], bool)
  probability = jnp.array([0.9, 0.5, 0.6, 0.1, 0.8, 0.9])
  keep = jnp.array([1, 1, 1, 1, 1, 0], bool)
  assert [int(part) for part in discrimination.occupancy(probability, true, keep, 0.5)] == [2, 4]
  # An empty scene takes no part; its own ratio would be 0 / 0.
  assert [int(part) for part in discrimination.occupancy(0 * probability, ~keep & true, keep, 0.5)] == [0, 0]
  unknown = probability.at[0].set(jnp.nan).at[3].set(jnp.nan)
  assert [int(part) for part in discrimination.occupancy(unknown, true, keep, 0.5)] == [1, 5]
