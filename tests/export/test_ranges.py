"""Which range a grid covers: each method's choice against what it says it minimises, on numbers rather than bins."""

import numpy as np
import pytest

from export import ranges
from export.quantisers import SIGNED, UNSIGNED, Affine, Grid, affine

RNG = np.random.default_rng(0)
HEAVY = RNG.standard_t(2.5, 200_000)  # with a few numbers far out
SHARES = np.linspace(1, 0.2, 9)  # of either end: some of those that are tried
COUNTS, EDGES = np.histogram(HEAVY, ranges.BINS)


def squared_error(pair, grid, symmetric) -> float:
  at = affine(*pair, grid, symmetric)
  q = np.clip(np.rint(HEAVY / at.scale) + at.zero, grid.low, grid.high)
  return float((((q - at.zero) * at.scale - HEAVY) ** 2).mean())


@pytest.mark.parametrize(("grid", "symmetric"), [(UNSIGNED, False), (SIGNED, True)])
def test_mse_has_the_least_squared_error(grid, symmetric):
  chosen = {
    method: ranges.choose(method, COUNTS, HEAVY.min(), HEAVY.max(), grid, symmetric)
    for method in ranges.METHODS
  }
  errors = {method: squared_error(pair, grid, symmetric) for method, pair in chosen.items()}
  assert errors["mse"] < 1.02 * min(errors.values())
  shares = [(a, b) for a in SHARES for b in ([a] if symmetric else SHARES)]
  every = [squared_error((HEAVY.min() * a, HEAVY.max() * b), grid, symmetric) for a, b in shares]
  assert errors["mse"] < 1.02 * min(every)
  assert errors["minmax"] > 1.5 * errors["mse"]


def test_percentile_leaves_so_much_outside():
  low, high = ranges.choose("percentile", COUNTS, HEAVY.min(), HEAVY.max(), UNSIGNED, False)
  width = EDGES[1] - EDGES[0]
  for end, share in ((low, ranges.OUTSIDE), (high, 1 - ranges.OUTSIDE)):
    assert abs(end - np.quantile(HEAVY, share)) <= 2 * width
  assert ranges.choose("minmax", COUNTS, -1.0, 2.0, UNSIGNED, False)[1] > 2.0


def test_entropy_clips_what_is_alone_and_keeps_what_is_everywhere():
  """Numbers spread evenly lose mass by any clipping; of a bulk with one number far out, that one is clipped."""
  even, _ = np.histogram(RNG.uniform(-1, 1, 200_000), ranges.BINS)
  low, high = ranges.choose("entropy", even, -1.0, 1.0, SIGNED, True)
  assert (low, high) == pytest.approx((-1.0, 1.0), rel=2 * ranges.SLACK)
  lonely = np.append(RNG.normal(0, 0.1, 200_000), [4.0, -4.0])
  counts, edges = np.histogram(lonely, ranges.BINS)
  assert ranges.choose("entropy", counts, edges[0], edges[-1], SIGNED, True)[1] < 2.0


@pytest.mark.parametrize("signed", [True, False])
def test_zeros_among_numbers_change_nothing_for_entropy(signed):
  """Flags and empty slots: as many exact zeros as numbers, which every grid holds."""
  numbers = RNG.normal(0, 1, 200_000).clip(-5, 5)
  grid = SIGNED if signed else UNSIGNED
  plain, flags = (
    np.histogram(x, ranges.BINS, (-5, 5))[0] for x in (numbers, np.append(numbers, 0 * numbers))
  )
  chosen = [ranges.choose("entropy", counts, -5.0, 5.0, grid, signed) for counts in (plain, flags)]
  assert chosen[0] == chosen[1] and chosen[0][1] > 2.5


def test_entropy_diverges_by_what_it_says():
  """Of two integers, each over two bins of 1 and 3 and of 2 and 2: KL(p || q) in closed form, the rest clipped."""
  at = Affine(2.0, 0, Grid(0, 1))
  centres = np.array([-0.5, 0.5, 1.5, 2.5, 3.5])
  counts = np.array([1, 3, 2, 2, 4])
  p = np.array([1, 3, 2, 2 + 4]) / 12
  q = np.array([2, 2, 2, 2]) / 8
  assert ranges._divergence(counts, centres, at) == pytest.approx((p * np.log(p / q)).sum())
