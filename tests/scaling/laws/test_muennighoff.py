"""Repeated data: published values, the published objective, the flat valley, and a surface that is not flat."""

import numpy as np
import pytest

from scaling.laws import hoffmann, muennighoff
from tests.scaling import published

C4 = hoffmann.Law(
  E=np.exp(0.6254804), A=np.exp(6.255414), B=np.exp(7.3049974), alpha=0.3526596, beta=0.3526596
)
LAW = muennighoff.Law(C4, 15.387756, 5.309743)


def test_published_losses():
  assert LAW.loss(6.34e9, 242e9, 25e9) == pytest.approx(2.2256440889984477, rel=1e-12)
  assert LAW.loss(8.67e9, 178e9, 25e9) == pytest.approx(2.2269634075087867, rel=1e-12)


def test_published_allocation():
  params, tokens = LAW.allocation(1e22, 25e9)
  assert (params, tokens) == pytest.approx((7.0262e9, 237.21e9), rel=1e-4)
  assert tokens / 25e9 == pytest.approx(9.4884, rel=1e-4)
  assert LAW.loss(params, tokens, 25e9) == pytest.approx(2.2221293, rel=1e-7)


def test_without_repeats_it_is_the_base_law():
  params, tokens = C4.optimum(1e21)
  assert LAW.loss(params * 0.9, tokens, tokens) == pytest.approx(C4.loss(params * 0.9, tokens))
  assert LAW.allocation(1e21, 1e15) == pytest.approx(C4.optimum(1e21), rel=1e-4)
  assert LAW.effective_data(4e9, 1e9) < 4e9 and LAW.effective_data(1e30, 1e9) == pytest.approx(
    1e9 * (1 + 15.387756)
  )


@pytest.fixture
def runs(shared_data):
  path = shared_data("scaling/muennighoff/runs_182_fit.csv")
  return published.columns(published.table(path), "params", "tokens", "unique_tokens", "loss")


def test_published_objective_is_met_and_the_valley_is_told(runs):
  params, tokens, unique, loss = runs
  r = np.abs(np.log(LAW.loss(params, tokens, unique) / loss))
  huber = np.where(r <= 1e-3, r**2 / 2, 1e-3 * (r - 5e-4)).sum()
  assert huber == pytest.approx(0.0158259353, rel=1e-8)
  left = np.square(loss - LAW.loss(params, tokens, unique)).sum()
  assert 1 - left / np.square(loss - loss.mean()).sum() == pytest.approx(0.7722, abs=5e-5)
  found = muennighoff.fit(C4, params, tokens, unique, loss)
  assert found.objective <= 0.0158259353 * (1 + 1e-6)
  assert "flat valley" in found.ridge


def test_noiseless_repeats_are_recovered():
  params, tokens, unique = (
    g.ravel() for g in np.meshgrid(np.geomspace(1e8, 1e10, 4), np.geomspace(1e9, 1e12, 6), [1e9, 1e10])
  )
  loss = LAW.loss(params, tokens, unique)
  found = muennighoff.fit(C4, params, tokens, unique, loss * np.exp(1e-5 * np.cos(np.arange(len(loss)))))
  assert (found.law.r_data, found.law.r_params) == pytest.approx((15.387756, 5.309743), rel=1e-2)
  exact = muennighoff.fit(C4, params, tokens, unique, loss)
  assert (exact.law.r_data, exact.law.r_params) == pytest.approx((15.387756, 5.309743), rel=1e-6)
  assert found.ridge == "" and found.intervals["r_data"].closed


def test_no_repeats_leave_a_valley():
  """Runs that see their data once say nothing of R_D*."""
  params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 1e12, 5)))
  loss = C4.loss(params, tokens) * np.exp(0.003 * np.sin(np.arange(25)))
  found = muennighoff.fit(C4, params, tokens, tokens, loss)
  assert "r_data" in found.ridge and not found.intervals["r_data"].closed
