"""Which range of an activation a grid covers, from a histogram of it.

minmax      all that was seen
percentile  all but the outermost 0.01 % at either end
entropy     the range whose quantised histogram diverges least from the original, zeros aside (S. Migacz, GTC 2017)
mse         the range of least expected squared error, what is clipped included
"""

import itertools

import numpy as np

from export.quantisers import Grid, affine

BINS = 2048
# A little more is covered than a share of what was seen: else pixels, flags and other even steps would lie halfway
# between two integers, where rounding is a toss.
SLACK = 1 / 512
OUTSIDE = 1e-4  # share of the mass that "percentile" leaves out at either end
_SHRINK = np.linspace(1.0, 0.2, 17) * (1 + SLACK)  # of either end: what "entropy" and "mse" choose from


def choose(method: str, counts: np.ndarray, least: float, greatest: float, grid: Grid, symmetric: bool):
  """(least, greatest) to cover.

  Args: counts: [BINS] of equal width over [least, greatest].
  """
  if greatest <= least:
    return least, greatest
  if method == "minmax":
    return least * (1 + SLACK), greatest * (1 + SLACK)
  edges = np.linspace(least, greatest, len(counts) + 1)
  if method == "percentile":
    share = np.cumsum(counts) / counts.sum()
    return float(edges[np.searchsorted(share, OUTSIDE)]), float(
      edges[np.searchsorted(share, 1 - OUTSIDE) + 1]
    )
  cost = {"entropy": _divergence, "mse": _squared_error}[method]
  centres = (edges[:-1] + edges[1:]) / 2
  ends = [(a, a) for a in _SHRINK] if symmetric else list(itertools.product(_SHRINK, _SHRINK))
  tried = [(least * low, greatest * high) for low, high in ends]
  if method == "entropy":
    counts = _without_zeros(counts, least, greatest)
  costs = [cost(counts, centres, affine(*pair, grid, symmetric)) for pair in tried]
  return tried[int(np.argmin(costs))]


METHODS = ("minmax", "percentile", "entropy", "mse")


def _without_zeros(counts: np.ndarray, least: float, greatest: float) -> np.ndarray:
  """The bin of 0 as its neighbours are: flags and empty slots are exact on every grid, and no reason to be fine there.

  As NVIDIA's calibrators do it.
  """
  if not least <= 0 <= greatest:
    return counts
  at = min(int(-least / (greatest - least) * len(counts)), len(counts) - 1)
  around = counts[[i for i in (at - 1, at + 1) if 0 <= i < len(counts)]].mean()
  changed = counts.astype(float)
  changed[at] = min(changed[at], around)
  return changed


def _integers(centres: np.ndarray, at) -> np.ndarray:
  return np.clip(np.rint(centres / at.scale) + at.zero, at.grid.low, at.grid.high).astype(int)


def _squared_error(counts, centres, at) -> float:
  back = (_integers(centres, at) - at.zero) * at.scale
  return float((counts * (centres - back) ** 2).sum())


def _divergence(counts, centres, at) -> float:
  """KL(p || q): p the histogram with what is clipped at its ends; q flat within each integer's bins."""
  q_index = _integers(centres, at) - at.grid.low
  inside = (centres >= (at.grid.low - at.zero - 0.5) * at.scale) & (
    centres <= (at.grid.high - at.zero + 0.5) * at.scale
  )
  p = np.where(inside, counts, 0).astype(float)
  first, last = np.flatnonzero(inside)[[0, -1]]
  p[first] += counts[:first].sum()
  p[last] += counts[last + 1 :].sum()
  held = (counts > 0) & inside
  levels = at.grid.high - at.grid.low + 1
  mass = np.bincount(q_index[held], weights=counts[held], minlength=levels)
  places = np.bincount(q_index[held], minlength=levels)
  q = np.where(held, mass[q_index] / np.maximum(places[q_index], 1), 0.0)
  p, q = p / p.sum(), q / q.sum()
  some = p > 0
  return float((p[some] * np.log(p[some] / np.maximum(q[some], 1e-12))).sum())
