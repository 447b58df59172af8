"""Resampling: weights for runs and for clusters of runs, redrawn noise, intervals of what the draws say.

Case bootstrap (Efron, 1979): each draw counts how often a run was drawn, as weights, so that every draw has the same
shape and all are fitted in one vmapped call. Cluster bootstrap (Field and Welsh, 2007): whole clusters are drawn, for
rows that share a run (checkpoints), a seed or a data set and so are not independent. Noise bootstrap: the design
stays and the losses are drawn anew; for IsoFLOP profiles of a handful of runs, where leaving runs out would leave no
parabola, and for designed tables.

Percentile intervals of a fitted law hold the truth too seldom in tables of tens of runs: draws spread less than the
estimate does (by the coefficients fitted), the normal tails stand for Student's, and a skewed estimate sits off the
middle of its draws. `corrected` mends the three; how often it holds the truth is in results/scaling_fit.
"""

import dataclasses
import math
import statistics
from collections.abc import Hashable, Sequence

import numpy as np

LEVEL = 0.95
KINDS = ("case", "run", "noise")


@dataclasses.dataclass(frozen=True)
class Resampling:
  """What draws of a law are from: `runs`, or clusters of them; `coefficients` of the law; `way`, of KINDS."""

  runs: int
  coefficients: int
  way: str

  def interval(self, draws: np.ndarray, estimate: float) -> list[float] | None:
    """See `corrected`."""
    return corrected(draws, estimate, self.runs, self.coefficients, self.way)


def case_weights(runs: int, draws: int, seed: int) -> np.ndarray:
  """float64 [draws, runs]: how often each run is drawn; every row sums to `runs`.

  NumPy's older generator, on purpose: with seed 42 these are the very resamples of Besiroglu et al.
  (arXiv:2404.10102), so that their standard errors are reproduced and not only resembled.
  """
  drawn = np.random.RandomState(seed).randint(0, runs, size=(draws, runs))
  counts = np.zeros((draws, runs))
  np.add.at(counts, (np.arange(draws)[:, None], drawn), 1)
  return counts


def cluster_weights(clusters: Sequence[Hashable], draws: int, seed: int) -> np.ndarray:
  """float64 [draws, R]: as often as each row's cluster is drawn; as many clusters are drawn as there are."""
  names = {name: k for k, name in enumerate(dict.fromkeys(clusters))}
  member = np.array([names[name] for name in clusters])
  return case_weights(len(names), draws, seed)[:, member]


def noisy(fitted: np.ndarray, sd: float | np.ndarray, draws: int, seed: int) -> np.ndarray:
  """float64 [draws, R]: `fitted` [R] plus normal noise of standard deviation `sd`, one for all or [R]."""
  rng = np.random.default_rng(seed)
  return fitted + sd * rng.standard_normal((draws, len(fitted)))


def redrawn(
  fitted: np.ndarray, residuals: np.ndarray, coefficients: int, draws: int, seed: int
) -> np.ndarray:
  """float64 [draws, R]: `fitted` [R] plus residuals drawn anew from the fit's own, smoothed.

  They are centred, and enlarged by what the fitted coefficients took out of them. Smoothed, with Silverman's normal
  kernel and their variance kept, because a robust fit passes through a few runs exactly: drawn as they are, its many
  zeros would make it look sharper than it is (De Angelis, Hall and Young, 1993).
  """
  rng = np.random.default_rng(seed)
  freedom = max(len(residuals) - coefficients, 1)
  own = (residuals - residuals.mean()) * np.sqrt(len(residuals) / freedom)
  sd = float(own.std())
  if sd == 0:
    return np.tile(fitted, (draws, 1))
  quarters = float(np.subtract(*np.quantile(own, [0.75, 0.25]))) / 1.349
  width = 1.06 * min(sd, quarters or sd) * len(own) ** -0.2
  drawn = rng.choice(own, size=(draws, len(fitted))) + width * rng.standard_normal((draws, len(fitted)))
  return fitted + drawn / math.sqrt(1 + (width / sd) ** 2)


def interval(draws: np.ndarray, level: float = LEVEL) -> list[float] | None:
  """Percentile interval [low, high] of the finite draws; None when fewer than nine in ten are finite."""
  return _between(draws, (1 - level) / 2, (1 + level) / 2)


def corrected(
  draws: np.ndarray, estimate: float, runs: int, coefficients: int, way: str, level: float = LEVEL
) -> list[float] | None:
  """Bias-corrected percentile interval (Efron, 1981) of an `estimate` from `draws`, with Student's quantile.

  The quantile is widened by sqrt(runs / (runs - coefficients)) where runs or clusters were drawn (Hesterberg, The
  American Statistician 2015); redrawn noise is that wide already.

  Args:
    draws: [draws]; None is returned when fewer than nine in ten are finite.
    runs: how many runs, or clusters of runs, the estimate is from; coefficients: of the law that was fitted.
    way: of KINDS.
  """
  finite = draws[np.isfinite(draws)]
  if not len(finite):
    return None
  normal = statistics.NormalDist()
  freedom = max(runs - coefficients, 1)
  reach = quantile(level, freedom) * (1.0 if way == "noise" else math.sqrt(runs / freedom))
  below = (np.sum(finite < estimate) + 0.5 * np.sum(finite == estimate)) / len(finite)
  half = 0.5 / len(finite)
  shift = 2 * normal.inv_cdf(float(np.clip(below, half, 1 - half)))
  return _between(draws, normal.cdf(shift - reach), normal.cdf(shift + reach))


def quantile(level: float, freedom: int) -> float:
  """Two-sided Student quantile (Cornish-Fisher expansion, within 0.3% from four degrees of freedom on)."""
  z, v = statistics.NormalDist().inv_cdf((1 + level) / 2), max(freedom, 1)
  first = (z**3 + z) / 4
  second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
  third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
  return z + first / v + second / v**2 + third / v**3


def _between(draws: np.ndarray, low: float, high: float) -> list[float] | None:
  finite = draws[np.isfinite(draws)]
  if len(finite) < max(2, 0.9 * len(draws)):
    return None
  return [float(q) for q in np.quantile(finite, [low, high])]
