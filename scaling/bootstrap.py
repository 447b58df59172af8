"""Resampling: weights for cases, noise for designed tables, percentile intervals.

Case bootstrap (Efron, 1979): each draw counts how often a run was drawn, as weights, so that every draw
has the same shape and all are fitted in one vmapped call. It reproduces the intervals of Besiroglu et al.
(arXiv:2404.10102). Noise bootstrap: the design stays and the residuals are drawn anew; for IsoFLOP profiles
of a handful of runs, where leaving runs out would leave no parabola.
"""

import numpy as np

LEVEL = 0.95


def case_weights(runs: int, draws: int, seed: int) -> np.ndarray:
  """float64 [draws, runs]: how often each run is drawn; every row sums to `runs`."""
  rng = np.random.default_rng(seed)
  return rng.multinomial(runs, np.full(runs, 1 / runs), size=draws).astype(np.float64)


def noisy(fitted: np.ndarray, sd: float, draws: int, seed: int) -> np.ndarray:
  """float64 [draws, R]: `fitted` [R] plus normal noise of standard deviation `sd`."""
  rng = np.random.default_rng(seed)
  return fitted + sd * rng.standard_normal((draws, len(fitted)))


def interval(draws: np.ndarray, level: float = LEVEL) -> list[float] | None:
  """Percentile interval [low, high] of the finite draws; None when fewer than nine in ten are finite."""
  finite = draws[np.isfinite(draws)]
  if len(finite) < max(2, 0.9 * len(draws)):
    return None
  return [float(q) for q in np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])]
