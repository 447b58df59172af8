"""Kaplan's law: the optimum, its limits, the fit, and the counting that bends the exponent."""

import numpy as np
import pytest

from scaling.fitting import isoflop
from scaling.laws import kaplan
from tests.scaling import published

LAW = kaplan.PUBLISHED


def test_limits_are_the_single_power_laws():
  assert LAW.loss(1e9, 1e30) == pytest.approx((6.4e13 / 1e9) ** 0.076, rel=1e-6)
  assert LAW.loss(1e30, 1e10) == pytest.approx((1.8e13 / 1e10) ** 0.103, rel=1e-6)


def test_optimum_is_the_minimum_along_the_budget():
  params, tokens = LAW.optimum(1e21)
  assert 6 * params * tokens == pytest.approx(1e21)
  for factor in (0.99, 1.01):
    assert LAW.loss(params * factor, tokens / factor) > LAW.loss(params, tokens)
  assert LAW.optimum(1e22)[0] / params == pytest.approx(10**LAW.a)
  assert LAW.a == pytest.approx(0.103 / 0.179)


@pytest.mark.parametrize("kind", ["huber", "mse"])
def test_noiseless_surface_is_recovered(kind):
  params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
  law, found = kaplan.fit(params, tokens, LAW.loss(params, tokens), kind)
  assert (law.alpha_n, law.alpha_d, law.n_c, law.d_c) == pytest.approx(
    (0.076, 0.103, 6.4e13, 1.8e13), rel=1e-6
  )
  assert found.agreeing > 0.5


def test_embeddings_lower_the_exponent():
  """Local exponents of N_total against N_ne, Pearce and Song: 1/3 where embeddings dominate, 1 where they do not."""
  for params, expected in ((1e3, 1 / 3), (1e15, 1.0)):
    slope = np.log(kaplan.total_params(params * 1.01) / kaplan.total_params(params)) / np.log(1.01)
    assert slope == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
  ("convention", "size", "data"),
  [("kaplan", 0.5361, 0.4889), ("all", 0.3745, 0.5008), ("transformer_only", 0.6965, 0.4058)],
)
def test_one_experiment_three_countings_three_exponents(shared_data, convention, size, data):
  """nanochat's IsoFLOP optima: what counts as N moves the exponent from .37 to .70."""
  rows = [r for r in published.table(shared_data("scaling/nanochat.csv")) if r["convention"] == convention]
  flops, params, tokens = published.columns(rows, "budget_flops", "params", "tokens")
  none = np.empty((len(rows), 0))
  assert isoflop.power_law(flops, params, none).exponent == pytest.approx(size, abs=5e-5)
  assert isoflop.power_law(flops, tokens, none).exponent == pytest.approx(data, abs=5e-5)


def test_rounded_budgets_miss_the_published_exponent(shared_data):
  rows = [r for r in published.table(shared_data("scaling/nanochat.csv")) if r["convention"] == "kaplan"]
  params = published.columns(rows, "params")[0]
  made = isoflop.power_law(np.array([1e18, 2e18, 5e18, 1e19]), params, np.empty((4, 0)))
  assert made.exponent == pytest.approx(0.5241, abs=5e-5)
