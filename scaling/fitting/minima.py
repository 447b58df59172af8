"""The least point of one IsoFLOP profile: ln L over ln N, by a parabola or by interpolation.

Both take x = ln N and y = ln L of every run [R], and the standard deviation of y under noise, from which the minimum
is found anew for every draw.
"""

import dataclasses

import numpy as np

from scaling.fitting import akima, bootstrap
from scaling.fitting.refusals import EdgeMinimum, NotConvex, Refusal

WINDOW = 6.0  # sizes more than this many times away from the best one are left out of a parabola
LEAST_SIZES = 4  # unless fewer than these would be left


@dataclasses.dataclass(frozen=True)
class Minimum:
  """Attributes:
  at, lowest: ln N* and ln L*. curvature: c2 of ln L = lowest + c2 (ln N - at)^2 around it.
  fitted: bool [R], which runs it is made from; residuals: ln measured - ln curve, of those.
  draws: [2, draws], ln N* and ln L* under redrawn noise; NaN where a draw has no minimum.
  refusal: why it is no interior minimum; None when it is.
  """

  at: float
  lowest: float
  curvature: float
  fitted: np.ndarray
  residuals: np.ndarray
  draws: np.ndarray
  refusal: Refusal | None


def by_parabola(x: np.ndarray, y: np.ndarray, sd: np.ndarray, draws: int, seed: int, where: str) -> Minimum:
  """Least squares through the sizes near the best one; three sizes or more."""
  sizes, which = np.unique(x, return_inverse=True)
  best = int((np.bincount(which, np.exp(y)) / np.bincount(which)).argmin())
  distance = np.abs(sizes - sizes[best])
  near = (distance <= np.log(WINDOW)) | (distance <= np.sort(distance)[:LEAST_SIZES][-1])
  fitted = near[which]
  centre = x[fitted].mean()
  design = np.vander(x[fitted] - centre, 3)
  solve = np.linalg.pinv(design)

  def vertex(c2, c1, c0):
    return np.stack([centre - c1 / (2 * c2), c0 - c1**2 / (4 * c2)])

  coefficients = solve @ y[fitted]
  redrawn = solve @ bootstrap.noisy(design @ coefficients, sd[fitted], draws, seed).T
  with np.errstate(divide="ignore", invalid="ignore"):
    at, lowest = vertex(*coefficients)
    drawn = np.where(redrawn[0] <= 0, np.nan, vertex(*redrawn))
  refusal: Refusal | None = None
  if best in (0, len(sizes) - 1):
    refusal = _edge(best == 0, where)
  elif coefficients[0] <= 0:
    refusal = NotConvex("the profile is not convex", where, "repeat its runs with other seeds, or add sizes")
  elif not sizes[0] < at < sizes[-1]:
    what = "the parabola's minimum lies outside the sizes"
    refusal = EdgeMinimum(what, where, "add sizes on that side")
  residuals = y[fitted] - design @ coefficients
  return Minimum(float(at), float(lowest), float(coefficients[0]), fitted, residuals, drawn, refusal)


def by_akima(x: np.ndarray, y: np.ndarray, sd: np.ndarray, draws: int, seed: int, where: str) -> Minimum:
  """Interpolation through the mean over the seeds of each size; three sizes or more."""
  sizes, which = np.unique(x, return_inverse=True)
  count = np.bincount(which)
  mean = np.bincount(which, y) / count
  at, lowest = (float(v) for v in akima.minimum(sizes, mean))
  k = int(np.clip(np.searchsorted(sizes, at), 1, len(sizes) - 2))
  three = slice(k - 1, k + 2)
  curvature = float(np.polyfit(sizes[three] - at, mean[three], 2)[0])
  of_mean = np.sqrt(np.bincount(which, sd**2)) / count
  drawn = np.empty((2, 0))
  if draws:
    drawn = np.stack(akima.minimum(sizes, bootstrap.noisy(mean, of_mean, draws, seed)))
    drawn = np.where((drawn[0] <= sizes[0]) | (drawn[0] >= sizes[-1]), np.nan, drawn)
  inside = sizes[0] < at < sizes[-1]
  refusal = None if inside else _edge(at <= sizes[0], where)
  return Minimum(at, lowest, curvature, np.ones(len(x), bool), y - mean[which], drawn, refusal)


METHODS = {"parabola": by_parabola, "akima": by_akima}


def _edge(smallest: bool, where: str) -> EdgeMinimum:
  what = f"the best size is the {'smallest' if smallest else 'largest'}"
  return EdgeMinimum(what, where, f"add {'smaller' if smallest else 'larger'} sizes")
