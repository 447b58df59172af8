"""Porian et al. (arXiv:2406.19146), RefinedWeb: five exponents from raw points and from optimal pairs."""

import numpy as np
import pytest

from scaling.fitting import bootstrap, isoflop
from tests.scaling import published

NAMES = sorted(published.PORIAN)


def noise(loss: np.ndarray) -> np.ndarray:
  """Standard deviation of ln L: .002 nats at a loss of 3, .05 at 7, a power law between (as in the source)."""
  return np.exp(np.interp(np.log(loss), np.log([3, 7]), np.log([0.002, 0.05]))) / loss


@pytest.mark.parametrize("name", NAMES)
def test_exponents_from_raw_points(shared_data, name):
  runs = published.porian_runs(shared_data("scaling/porian_refinedweb/isoflop_points.csv"), name)
  found = isoflop.fit(runs, 0, 0, "akima")
  assert found.params.exponent == pytest.approx(published.PORIAN[name][1], abs=0.007)
  assert found.method == "akima" and len(found.refusals) == (1 if name == "last_layer" else 0)


@pytest.mark.parametrize("name", NAMES)
def test_weighted_lines_with_redrawn_noise(shared_data, name):
  runs = published.porian_runs(shared_data("scaling/porian_refinedweb/isoflop_points.csv"), name)
  found = isoflop.fit(runs, 200, 0, "akima", "weighted", noise)
  assert found.line == "weighted"
  assert found.params.exponent == pytest.approx(published.PORIAN[name][1], abs=0.003)
  low, high = bootstrap.interval(found.params.draws[0])
  assert low < published.PORIAN[name][1] < high


@pytest.mark.parametrize("name", NAMES)
def test_lines_through_published_pairs(shared_data, name):
  pairs = published.porian(shared_data("scaling/porian_refinedweb/optimal_pairs.csv"), name)
  fits = published.porian(shared_data("scaling/porian_refinedweb/published_fits.csv"), name)[0]
  flops, n, sd = published.columns(pairs, "flops", "n", "n_star_std")
  none = np.empty((len(n), 0))
  basic, weighted = isoflop.power_law(flops, n, none), isoflop.power_law(flops, n, none, sd)
  assert basic.exponent == pytest.approx(float(fits["basic.n_exponent"]), abs=5e-6)
  assert weighted.exponent == pytest.approx(float(fits["weighted.n_exponent"]), abs=5e-6)
  assert np.exp(weighted.intercept) == pytest.approx(float(fits["weighted.n_coef"]), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_parabolas_miss_by_what_their_shape_imposes(shared_data, name):
  """No window brings all five within .01, so the method is an option that every result names."""
  runs = published.porian_runs(shared_data("scaling/porian_refinedweb/isoflop_points.csv"), name)
  by_parabola, by_akima = (isoflop.fit(runs, 0, 0, method) for method in ("parabola", "akima"))
  assert (by_parabola.method, by_akima.method) == ("parabola", "akima")
  assert by_parabola.params.exponent == pytest.approx(published.PORIAN[name][1], abs=0.025)
  if name in ("kaplan", "cosine"):
    assert abs(by_parabola.params.exponent - published.PORIAN[name][1]) > 0.015
