"""Every typed refusal, provoked by a table that earns it; and none for a table that does not."""

import copy

import numpy as np
import pytest

from data.errors import BadInput
from scaling.fitting import identifiability, parametric, refusals
from tests.scaling.surface import DRIVING, Surface

GRID = tuple(g.ravel() for g in np.meshgrid(np.geomspace(1e3, 1e6, 6), np.geomspace(1e5, 1e8, 5)))
N = np.geomspace(1e3, 1e6, 12)


@pytest.mark.parametrize(
  ("params", "tokens", "kind", "words"),
  [
    (N, 20 * N, refusals.OneRay, "20 tokens per parameter"),
    (N, 20 * N**0.7, refusals.OneLine, "slope 0.7"),
    (N, 1e12 / (6 * N), refusals.OneLine, "slope -1"),
    (N, np.full(12, 1e7), refusals.SingleData, "one D"),
    (np.full(12, 1e4), N, refusals.SingleSize, "one N"),
    (np.repeat([1e3, 1e5], 6), np.tile(np.geomspace(1e5, 1e8, 6), 2), refusals.TooFewRuns, "2 sizes"),
    (np.tile(N[::2], 2), np.repeat([1e5, 1e8], 6), refusals.TooFewRuns, "2 amounts of data"),
    (GRID[0][[0, 7, 14, 21, 28]], GRID[1][[0, 7, 14, 21, 28]], refusals.TooFewRuns, "5 runs"),
  ],
)
def test_tables_that_settle_nothing(params, tokens, kind, words):
  found = identifiability.of_table(params, tokens, 5, "runs.csv")
  assert (
    type(found[0]) is kind and words in found[0].what and found[0].where == "runs.csv" and found[0].remedy
  )


def test_good_table_is_not_refused():
  assert identifiability.of_table(*GRID, 5, "runs.csv") == []
  seen = identifiability.coverage(*GRID)
  assert (seen.runs, seen.sizes, seen.amounts) == (30, 6, 5)
  assert (seen.params_decades, seen.tokens_decades, seen.ratio_decades) == pytest.approx((3, 3, 6))
  assert identifiability.coverage(N, N**0.7).slope == pytest.approx(0.7)


def test_fits_carry_their_refusals():
  ray = parametric.fit(N, 20 * N, DRIVING.loss(N, 20 * N), "huber")
  assert isinstance(ray.refusals[0], refusals.OneRay)
  with pytest.raises(refusals.OneRay):
    ray.quotable()
  good = parametric.fit(*GRID, DRIVING.loss(*GRID), "huber")
  assert good.quotable() is good.law and good.condition < identifiability.ILL_CONDITIONED
  floorless = Surface(0.0, 30.0, 200.0, 0.3, 0.3)
  made = parametric.fit(*GRID, floorless.loss(*GRID), "mse")
  assert any(isinstance(r, refusals.NoFloor) for r in made.refusals)
  narrow = tuple(g.ravel() for g in np.meshgrid(np.geomspace(1e4, 1.2e4, 5), np.geomspace(1e6, 1.2e6, 5)))
  made = parametric.fit(*narrow, DRIVING.loss(*narrow), "mse")
  assert any(isinstance(r, refusals.IllConditioned) for r in made.refusals)
  steep = Surface(0.8, 4.2, 1e30, 0.4, 6.0)  # steeper than the range allows
  made = parametric.fit(*GRID, steep.loss(*GRID), "mse")
  assert any(isinstance(r, refusals.AtBound) and "beta" in r.what for r in made.refusals)


def test_condition_is_that_of_the_scaled_hessian():
  rng = np.random.default_rng(0)
  jacobian = rng.normal(size=(40, 3)) * [1.0, 1e8, 1e-8]
  hessian = jacobian.T @ jacobian
  unit = hessian / np.sqrt(np.outer(np.diag(hessian), np.diag(hessian)))
  assert identifiability.condition(jacobian) == pytest.approx(np.linalg.cond(unit))
  twice = np.concatenate([jacobian, jacobian[:5]])
  weights = np.r_[np.full(5, 2.0), np.ones(35)]
  assert identifiability.condition(jacobian, weights) == pytest.approx(identifiability.condition(twice))


def test_refusals_are_bad_input_and_travel():
  refusal = refusals.OneRay("what", "where", "remedy")
  assert isinstance(refusal, BadInput) and type(copy.copy(refusal)) is refusals.OneRay
  assert refusal.as_json() == {"refusal": "OneRay", "what": "what", "where": "where", "remedy": "remedy"}
  refusals.require([])
  with pytest.raises(refusals.OneRay, match="where: what; remedy"):
    refusals.require([refusal])
