"""Resamples: sums, clusters that stay whole, noise of the right size, the draws of the published notebook."""

import numpy as np
import pytest
from scipy import stats

from scaling.fitting import bootstrap


def test_case_weights_count_draws_of_the_published_notebook():
  """The notebook: np.random.seed(42), then np.random.choice over the kept rows, once for each resample."""
  kept = np.array([3, 5, 8, 9])
  np.random.seed(42)
  drawn = [np.random.choice(kept, size=4, replace=True) for _ in range(50)]
  expected = [[np.sum(draw == row) for row in kept] for draw in drawn]
  weights = bootstrap.case_weights(4, 50, 42)
  assert weights.tolist() == expected and (weights.sum(1) == 4).all()
  assert bootstrap.case_weights(4, 0, 0).shape == (0, 4)


def test_clusters_are_drawn_whole():
  names = ["a", "b", "a", "c", "b", "a"]
  weights = bootstrap.cluster_weights(names, 500, 0)
  assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
  assert (weights[:, 1] == weights[:, 4]).all()
  assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
  assert weights[:, 3].mean() == pytest.approx(1, abs=0.15)


def test_clusters_widen_what_repeats_narrow():
  """Ten values, each counted five times: the mean's error by clusters is that of ten values, not of fifty."""
  values = np.random.default_rng(0).standard_normal(10)
  repeated, names = np.repeat(values, 5), np.repeat(np.arange(10), 5).tolist()
  clusters = (bootstrap.cluster_weights(names, 4000, 0) @ repeated / 50).std()
  cases = (bootstrap.case_weights(50, 4000, 0) @ repeated / 50).std()
  assert clusters == pytest.approx(values.std() / np.sqrt(10), rel=0.05)
  assert cases == pytest.approx(values.std() / np.sqrt(50), rel=0.05)


def test_noise_has_its_size():
  made = bootstrap.noisy(np.array([1.0, 2.0]), np.array([0.1, 0.0]), 5000, 0)
  assert made.mean(0) == pytest.approx([1, 2], abs=5e-3) and made.std(0) == pytest.approx([0.1, 0], abs=5e-3)
  residuals = np.array([0.3, -0.1, 0.2, 0.0, 0.1])
  redrawn = bootstrap.redrawn(np.zeros(5), residuals, 2, 5000, 0)
  assert redrawn.mean() == pytest.approx(0, abs=5e-3)
  assert redrawn.std() == pytest.approx(residuals.std() * np.sqrt(5 / 3), rel=0.02)


def test_interval_is_a_percentile_interval_of_what_is_finite():
  draws = np.arange(1001.0)
  assert bootstrap.interval(draws) == pytest.approx([25, 975])
  assert bootstrap.interval(draws, 0.5) == pytest.approx([250, 750])
  draws[:50] = np.nan
  assert bootstrap.interval(draws) is not None
  draws[:150] = np.nan
  assert bootstrap.interval(draws) is None


def test_smoothing_fills_in_what_a_robust_fit_leaves_at_zero():
  """Half of the residuals are zero, as those of runs that a fit passes through: drawn ones are not."""
  residuals = np.r_[np.zeros(20), np.random.default_rng(0).standard_normal(20)]
  drawn = bootstrap.redrawn(np.zeros(40), residuals, 0, 500, 0)
  assert np.mean(np.abs(drawn) < 1e-6) < 1e-3
  assert drawn.std() == pytest.approx(residuals.std(), rel=0.03)
  # Nothing to draw from.
  assert bootstrap.redrawn(np.ones(3), np.zeros(3), 1, 2, 0).tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("freedom", [4, 7, 30, 235])
def test_quantile_is_students(freedom):
  assert bootstrap.quantile(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=3e-3)


def test_corrected_interval_of_a_mean_is_students():
  """Draws of a mean are too narrow by sqrt((n - 1) / n), and normal: put right, the interval is the textbook's."""
  values = np.array([-2.1, -1.5, -1.1, -0.8, -0.4, -0.1, 0.1, 0.4, 0.8, 1.1, 1.5, 2.1])
  draws = bootstrap.case_weights(12, 50_000, 0) @ values / 12
  half = stats.t.ppf(0.975, 11) * values.std(ddof=1) / np.sqrt(12)
  made = bootstrap.corrected(draws, values.mean(), 12, 1, "case")
  assert made == pytest.approx([values.mean() - half, values.mean() + half], abs=0.04 * half)
  assert np.ptp(bootstrap.interval(draws)) < 0.9 * np.ptp(made)


def test_few_runs_are_widened_by_the_coefficients_they_settle():
  """Standard normal draws about the estimate, 6 runs, 1 coefficient: Student's quantile, times sqrt(6/5) for cases."""
  draws = stats.norm.ppf((np.arange(200_001) + 0.5) / 200_001)
  student = stats.t.ppf(0.975, 5)
  for way, wider in (("noise", 1.0), ("case", np.sqrt(6 / 5)), ("run", np.sqrt(6 / 5))):
    low, high = bootstrap.corrected(draws, 0.0, 6, 1, way)
    assert (-low, high) == pytest.approx((student * wider,) * 2, rel=5e-3)


def test_corrected_interval_goes_through_any_increasing_function():
  draws = np.random.default_rng(0).standard_normal(4001) + 0.3  # their middle is off the estimate
  made = bootstrap.corrected(draws, 0.0, 50, 5, "noise")
  assert bootstrap.corrected(np.exp(draws), 1.0, 50, 5, "noise") == pytest.approx(np.exp(made), rel=2e-3)
  plain = bootstrap.interval(draws)
  assert made[0] < plain[0] - 0.4 and made[1] < plain[1] - 0.2  # moved against the bias, twice its size
  assert bootstrap.corrected(np.full(4, np.nan), 0.0, 50, 5, "case") is None
  draws[:600] = np.nan
  assert bootstrap.corrected(draws, 0.0, 50, 5, "case") is None
