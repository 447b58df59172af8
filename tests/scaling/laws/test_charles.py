"""The law of replicas: a planted one is found, and its intervals hold it."""

import itertools

import numpy as np
import pytest

from scaling.fitting import bootstrap
from scaling.laws import charles

TRUTH = charles.Law(1.1, 30.0, 60.0, 0.5, 0.4, 0.15, 0.05)


def grid():
  """Columns N, D, M, H, and the run that each row is of: a run is seen at several D."""
  runs = list(itertools.product((1e3, 4e3, 1.5e4), (1, 2, 4, 8), (8, 32)))
  rows = [(n, d, m, h, run) for run, (n, m, h) in enumerate(runs) for d in (1e5, 2e5, 4e5)]
  return [np.array(column, float) for column in zip(*rows, strict=True)]


def test_a_planted_law_is_found():
  columns = grid()[:4]
  law, draws = charles.fit(*columns, TRUTH.loss(*columns))
  assert draws is None
  for name, value in vars(TRUTH).items():
    assert getattr(law, name) == pytest.approx(value, rel=1e-5), name


def test_intervals_over_runs_hold_it_and_tell_a_cost_from_none():
  *columns, run = grid()
  noise = np.random.default_rng(0).normal(scale=0.004, size=24)[run.astype(int)]
  weights = bootstrap.cluster_weights(run.tolist(), 100, seed=0)
  law, draws = charles.fit(*columns, TRUTH.loss(*columns) + noise, weights)
  resampling = bootstrap.Resampling(24, charles.COEFFICIENTS, "run")
  for name in ("gamma", "delta"):
    low, high = resampling.interval(getattr(draws, name), getattr(law, name))
    assert low < getattr(TRUTH, name) < high and high - low < 0.15
  assert resampling.interval(draws.gamma, law.gamma)[0] > 0


def test_replicas_are_worth_the_data_that_would_do_as_well():
  share = TRUTH.worth(8)
  alone = TRUTH.loss(4e3, 4e5 * share, 1, 32)
  assert TRUTH.loss(4e3, 4e5, 8, 32) == pytest.approx(alone) and 0 < share < 1
