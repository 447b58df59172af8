"""Profile intervals: Student's interval where it is exact, coverage, open ends, and the exponents of Chinchilla."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from scaling.fitting import bootstrap, parametric, profile, solver
from scaling.fitting.refusals import FlatValley
from tests.scaling import published


def line(theta, columns):
  return theta[0] + theta[1] * columns[0]


def product(theta, columns):
  """Only the sum of the two is settled."""
  return (theta[0] + theta[1]) * columns[0]


FREE = np.full(2, np.inf)


def test_least_squares_line_has_the_interval_of_the_textbook():
  """Student's quantile times the HC3 standard error, which for a line is known in closed form."""
  rng = np.random.default_rng(0)
  x = np.linspace(-1, 1, 12)
  y = 1 + 2 * x + 0.1 * rng.standard_normal(12)
  design = np.stack([np.ones(12), x], -1)
  inverse = np.linalg.inv(design.T @ design)
  best = inverse @ design.T @ y
  left = (y - design @ best) / (1 - np.einsum("ri,ij,rj->r", design, inverse, design))
  errors = np.sqrt(np.diag(inverse @ (design.T @ (left[:, None] ** 2 * design)) @ inverse))
  made = profile.intervals(line, (x,), y, best, [0, 1], "mse", -FREE, FREE, 0.95)
  for value, interval, error in zip(best, made, errors, strict=True):
    half = stats.t.ppf(0.975, 10) * error
    assert (interval.low, interval.high) == pytest.approx((value - half, value + half), abs=2e-3 * half)


def constant(theta, columns):
  return theta[0] + 0 * columns[0]


@pytest.mark.parametrize("kind", ["huber", "lad", "mse"])
def test_units_turn_a_rise_into_chi_squared(kind):
  """Over 400 tables of a constant, half of their runs three times as noisy as the others, the truth known."""
  rng = np.random.default_rng(1)
  noise = 0.01 * rng.standard_normal((400, 60)) * np.repeat([1.0, 3.0], 30)
  one, ones = np.full(1, np.inf), np.ones(60)
  found, values = solver.lanes(constant, (ones,), noise, np.zeros(1), kind, -one, one)
  at_truth = np.stack(
    [
      np.abs(noise),
      np.square(noise) / 2,
      np.where(np.abs(noise) < 1e-3, np.square(noise) / 2, 1e-3 * np.abs(noise) - 5e-7),
    ]
  )
  risen = at_truth[{"lad": 0, "mse": 1, "huber": 2}[kind]].sum(1) - values
  free = np.ones(1, bool)
  units = [
    profile.units(kind, row - value, ones[:, None], free)[0] for row, value in zip(noise, found, strict=True)
  ]
  assert np.mean(risen * units < bootstrap.quantile(0.95, 59) ** 2) == pytest.approx(0.95, abs=0.035)


def test_flat_valley_has_no_end_and_says_so():
  x = np.linspace(0, 1, 20)
  rng = np.random.default_rng(0)
  y = 3 * x + 0.01 * rng.standard_normal(20)
  best = np.array([1.0, (x @ y) / (x @ x) - 1.0])
  made = profile.intervals(product, (x,), y, best, [0], "mse", -FREE, FREE, 0.95)[0]
  assert made.low is None and made.high is None and not made.closed
  refusal = made.refusal("N_c", "the table")
  assert isinstance(refusal, FlatValley) and "N_c" in refusal.what
  closed = profile.Interval(1.0, 2.0, np.ones(1), np.ones(1))
  assert closed.refusal("x", "") is None
  assert closed.map(np.exp).high == pytest.approx(np.exp(2))


def test_chinchilla_profiles_agree_with_the_published_bootstrap(shared_data):
  """Two ways to one uncertainty: interval ends near those of the published 80% one."""
  table = published.chinchilla(shared_data("scaling/chinchilla_epoch.csv"))
  made = parametric.intervals(parametric.fit(*table, "huber"), *table, level=0.8)
  assert (made["a"].low, made["a"].high) == pytest.approx((0.4913, 0.5428), abs=0.007)
  for name, value, error in (("E", 1.8172, 0.0257), ("alpha", 0.3473, 0.0154), ("beta", 0.3672, 0.0206)):
    low, high = value - 1.2816 * error, value + 1.2816 * error
    assert (made[name].low, made[name].high) == pytest.approx((low, high), abs=0.4 * error)


def test_intervals_cover_the_truth_as_often_as_they_say():
  """100 noisy tables of one surface: 95% intervals hold the truth in 92 to 98 of them, for every coefficient.

  benchmarks/coverage.py is the long form, with other surfaces and the bootstraps.
  """
  covered = coverage.Study("driving", "mse", 100).by_profile()
  assert set(covered) == {"A", "B", "E", "alpha", "beta", "a"}
  assert all(92 <= count <= 98 for count in covered.values())


def test_an_end_beyond_float64_is_open():
  walked = np.array([-1.0, 0.0, 800.0])
  made = profile.Interval(-1.0, 800.0, walked, np.zeros(3)).map(np.exp)
  assert made.low == pytest.approx(np.exp(-1)) and made.high is None and not made.closed


def test_intervals_differ_when_an_end_is_off_by_a_third_of_their_width():
  """The first pair is that of alpha in results/ladder."""
  nothing = np.empty(0)
  assert profile.Interval(0.593, 0.857, nothing, nothing).differs([0.691, 0.985])
  assert not profile.Interval(0.0, 3.0, nothing, nothing).differs([0.9, 3.9])
  assert profile.Interval(0.0, 3.0, nothing, nothing).differs([0.0, 4.3])
  assert not profile.Interval(None, 3.0, nothing, nothing).differs([9.0, 10.0])
