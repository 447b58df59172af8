"""N*, D*, L* at a C: closed forms, the table's own count of FLOPs, and intervals that hold the truth."""

import numpy as np
import pytest

from scaling import table
from scaling.fitting import isoflop, optima, parametric
from scaling.fitting.bootstrap import Resampling
from scaling.laws.hoffmann import Law
from tests.scaling.surface import CHINCHILLA, DRIVING, write
from tests.scaling.surface import isoflop as ladder

BUDGETS = 1e11 * 4.0 ** np.arange(3)
FACTORS = (0.2, 0.45, 1, 2.2, 5)


def law(surface):
  return Law(surface.E, surface.A, surface.B, surface.alpha, surface.beta)


def read(tmp_path, surface, budgets=BUDGETS, noise=0.0, seed=0):
  return table.read_runs(write(tmp_path / "runs.csv", ladder(surface, budgets, FACTORS, noise, seed=seed)))


@pytest.mark.parametrize(("surface", "budgets"), [(DRIVING, BUDGETS), (CHINCHILLA, BUDGETS * 1e9)])
def test_under_6nd_it_is_the_closed_form(tmp_path, surface, budgets):
  runs = read(tmp_path, surface, budgets)
  for flops in (budgets[0], budgets[2] * 1000):
    found = optima.by_law(law(surface), None, runs, flops, Resampling(len(runs), 5, "case"))
    params, tokens = surface.optimum(flops)
    assert (found.params, found.tokens) == pytest.approx((params, tokens), rel=2e-4)
    assert found.loss == pytest.approx(surface.loss(params, tokens), rel=1e-9)
    assert found.ci95 == {"params": None, "tokens": None, "loss": None}


def test_draws_are_searched_each_for_itself(tmp_path):
  runs = read(tmp_path, DRIVING)
  several = Law(
    *(np.array([getattr(law(s), n) for s in (DRIVING, CHINCHILLA)]) for n in ("E", "A", "B", "alpha", "beta"))
  )
  params, tokens, loss = optima.parametric(several, runs, 1e13)
  for k, surface in enumerate((DRIVING, CHINCHILLA)):
    best = surface.optimum(1e13)
    assert (params[k], tokens[k]) == pytest.approx(best, rel=2e-4)
    assert loss[k] == pytest.approx(surface.loss(*best), rel=1e-9)


def test_both_approaches_hold_the_truth_and_their_intervals_are_ordered(tmp_path):
  inside = 0
  flops = 4 * BUDGETS[2]
  truth = dict(zip(("params", "tokens"), DRIVING.optimum(flops), strict=True))
  truth["loss"] = DRIVING.loss(truth["params"], truth["tokens"])
  for seed in range(5):
    runs = read(tmp_path, DRIVING, noise=0.003, seed=seed)
    weights = np.random.default_rng(seed).multinomial(len(runs), np.full(len(runs), 1 / len(runs)), 200)
    fitted = parametric.fit(runs.params, runs.tokens, runs.loss, "huber", weights)
    for found in (
      optima.by_law(fitted.law, fitted.draws, runs, flops, Resampling(len(runs), 5, "case")),
      optima.by_profiles(isoflop.fit(runs, 200, seed), flops),
    ):
      for name in ("params", "tokens"):
        low, high = found.ci95[name]
        assert low < getattr(found, name) < high
        inside += low <= truth[name] <= high
  assert inside >= 15  # of 20; intervals of 95% that miss six times would be no intervals


def test_profiles_without_a_line_have_no_optimum(tmp_path):
  runs = read(tmp_path, DRIVING, BUDGETS[:1])
  assert optima.by_profiles(isoflop.fit(runs, 0, 0), 1e12) is None
