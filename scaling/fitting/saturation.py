"""Whether a metric still improves with compute: its pace over the last decade of compute, and before.

y is a metric of which less is better. The pace is what a decade of compute takes off, as a share of the metric's mean,
from a straight line over log10 C:

  pace = -slope / mean(y)

over the runs of the last decade (C > C_max / 10), and over all those before. By their intervals:

  improves    the last decade's pace is above zero
  worsens     it is below zero
  saturates   neither; it is less than half the pace before, which is above zero
  no effect   neither; the pace over all runs is less than a tenth, up or down
  cannot tell none of these: too few runs, or too few worlds

Draws: runs of one size and compute are drawn again among themselves, so that the design stays, and the clusters of a
slice (scenes, worlds) at the same time, for all runs alike, because all have met the same ones. Crossed draws make
intervals wide rather than narrow (A. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007). Of n, n - 1
are drawn and weigh n / (n - 1), without which three seeds would spread too little (J. Rao and C. Wu, JASA 1988). A run
that is alone in its size is given normal noise instead, as much as the other sizes show, or all runs about a parabola.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from scaling.fitting import bootstrap

VERDICTS = ("improves", "worsens", "saturates", "no effect", "cannot tell")
DECADE = 10.0
LESS = 0.5  # of the pace before: no more is called saturated
SMALL = 0.1  # of the metric in a decade
PARABOLA = 3  # coefficients


@dataclasses.dataclass(frozen=True)
class Cells:
  """One metric of R runs in the K clusters of one slice: means and how many they are over, both [R, K]."""

  mean: np.ndarray
  count: np.ndarray

  def drawn(self, clusters_LxK: np.ndarray) -> np.ndarray:
    """[L, R]: each run's mean when cluster k counts `clusters_LxK` times."""
    total = clusters_LxK @ np.where(self.count > 0, self.mean * self.count, 0.0).T
    return total / (clusters_LxK @ self.count.T)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Attributes: `value` and `ci95`, None where the draws leave it open."""

  value: float
  ci95: list[float] | None


@dataclasses.dataclass(frozen=True)
class Draws:
  """`values` [1 + L, R] of the metric and `weights` [1 + L, R] of the runs; the first row is the table itself.
  `strata` [R]: equal for runs of one size and compute."""

  values: np.ndarray
  weights: np.ndarray
  strata: np.ndarray

  def estimate(self, found: np.ndarray, keep: np.ndarray) -> Estimate:
    """Of something found in the table and in each draw, [1 + L], from the runs of `keep`.

    Student's quantile, with the freedom that runs have within their strata, or about a parabola where there is none.
    """
    freedom = int(keep.sum()) - len(np.unique(self.strata[keep])) or len(keep) - PARABOLA
    ci95 = bootstrap.corrected(found[1:], float(found[0]), freedom, 0, "noise")
    return Estimate(float(found[0]), ci95)


def draw(cells: Sequence[Cells], strata: np.ndarray, flops: np.ndarray, draws: int, seed: int) -> Draws:
  """Draws of the mean over slices, each slice counted alike.

  Args:
    cells: of each slice. strata: as of Draws. flops: [R].
  """
  rng, shared = (np.random.default_rng([seed, stream]) for stream in (0, 1))
  weights = np.ones((1 + draws, len(strata)))
  values = np.zeros_like(weights)
  for one in cells:
    clusters = np.ones((1 + draws, one.mean.shape[1]))
    clusters[1:] = _times(one.mean.shape[1], draws, shared)
    values += one.drawn(clusters) / len(cells)
  sd = spread(values[0], strata, flops)
  for stratum in np.unique(strata):
    own = np.flatnonzero(strata == stratum)
    weights[1:, own] = _times(len(own), draws, rng)
    if len(own) == 1:
      values[1:, own] += sd * rng.standard_normal((draws, 1))
  return Draws(values, weights, strata)


def spread(value_R: np.ndarray, strata: np.ndarray, flops: np.ndarray) -> float:
  """Standard deviation of a run beside the others of its stratum; about a parabola over ln C where all are alone."""
  _, place = np.unique(strata, return_inverse=True)
  freedom = len(value_R) - int(place.max()) - 1
  if freedom:
    away = value_R - (np.bincount(place, value_R) / np.bincount(place))[place]
  else:
    x, freedom = np.log(flops / flops.mean()), len(value_R) - PARABOLA
    away = value_R - np.polyval(np.polyfit(x, value_R, PARABOLA - 1), x)
  return float(np.sqrt(np.square(away).sum() / freedom))


def _times(count: int, draws: int, rng: np.random.Generator) -> np.ndarray:
  """[draws, count]: how often each is drawn, which is `count` in all; one alone always is."""
  if count == 1:
    return np.ones((draws, 1))
  return rng.multinomial(count - 1, np.full(count, 1 / count), size=draws) * (count / (count - 1))


def pace(flops: np.ndarray, drawn: Draws, keep: np.ndarray) -> np.ndarray:
  """[1 + L]: share of the metric that a decade takes off, over the runs of `keep` [R]; NaN for a metric of nought."""
  x, y, w = np.log10(flops)[keep], drawn.values[:, keep], drawn.weights[:, keep]
  total = w.sum(1)
  x0, y0 = (w @ x) / total, (w * y).sum(1) / total
  away = x - x0[:, None]
  slope = (w * away * (y - y0[:, None])).sum(1) / (w * away**2).sum(1)
  return np.divide(-slope, y0, out=np.full(len(y), np.nan), where=y0 > 0)


@dataclasses.dataclass(frozen=True)
class Found:
  """Attributes: paces of the `last` decade, `before` it and over the `whole` table; `verdict`, of VERDICTS."""

  last: Estimate
  before: Estimate
  whole: Estimate
  verdict: str


def judge(flops: np.ndarray, drawn: Draws) -> Found:
  """The verdict on one metric."""
  late = flops > flops.max() / DECADE
  kinds = {"last": late, "before": ~late, "whole": np.ones_like(late)}
  paces = {name: pace(flops, drawn, keep) for name, keep in kinds.items()}
  made = {name: drawn.estimate(paces[name], keep) for name, keep in kinds.items()}
  less = drawn.estimate(paces["last"] - LESS * paces["before"], late)
  return Found(**made, verdict=_verdict(made, less.ci95))


def rank_correlation(one: Draws, other: Draws) -> Estimate:
  """Spearman's, of two metrics over the runs; draws of both must be of one seed, so that they are of the same runs."""
  first, second = (_centred(d) for d in (one, other))
  w = one.weights
  over = (w * first * second).sum(1)
  under = np.sqrt((w * first**2).sum(1) * (w * second**2).sum(1))
  found = np.divide(over, under, out=np.full(len(over), np.nan), where=under > 0)
  return one.estimate(found, np.ones(w.shape[1], bool))


def _centred(drawn: Draws) -> np.ndarray:
  """Ranks of the runs in each draw, ties sharing their mean rank, about their weighted mean."""
  y = drawn.values
  below = (y[:, None, :] < y[:, :, None]).sum(-1)
  ranks = below + 0.5 * (y[:, None, :] == y[:, :, None]).sum(-1)
  return ranks - ((drawn.weights * ranks).sum(1) / drawn.weights.sum(1))[:, None]


def _verdict(paces: dict[str, Estimate], less: list[float] | None) -> str:
  last, before, whole = (paces[name].ci95 for name in ("last", "before", "whole"))
  if last is None or before is None or whole is None or less is None:
    return "cannot tell"
  if last[0] > 0:
    return "improves"
  if last[1] < 0:
    return "worsens"
  if less[1] < 0 < before[0]:
    return "saturates"
  if whole[0] > -SMALL and whole[1] < SMALL:
    return "no effect"
  return "cannot tell"
