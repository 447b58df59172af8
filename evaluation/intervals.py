"""Intervals over scenes: clips of one scene are not independent, so whole scenes are drawn again.

A score is a ratio of sums over clips, sum_n a_n / sum_n b_n. A bootstrap draw takes S of the S scenes with
replacement and forms the ratio anew; two scores on the same clips share their draws, so that the interval of their
difference is a paired one. B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 8.
"""

import dataclasses

import numpy as np

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Draws:
  """How often each scene was drawn, counts_RxS, and to which of the S scenes each clip belongs, scene_N."""

  counts_RxS: np.ndarray
  scene_N: np.ndarray

  def ratio(self, over_N: np.ndarray, under_N: np.ndarray) -> np.ndarray:
    """float64 [R]: the score in every draw; NaN where its denominator is zero, or one scene leaves nothing to draw."""
    over, under = (self.counts_RxS @ self._sums(values) for values in (over_N, under_N))
    told = (under != 0) & (self.counts_RxS.shape[1] > 1)
    return np.divide(over, under, out=np.full(len(over), np.nan), where=told)

  def _sums(self, values_N: np.ndarray) -> np.ndarray:
    return np.bincount(self.scene_N, values_N, minlength=self.counts_RxS.shape[1])


def draw_scenes(scene_N: np.ndarray, draws: int, seed: int) -> Draws:
  """`draws` bootstrap draws of the scenes named by `scene_N` (any integers)."""
  known, place_N = np.unique(scene_N, return_inverse=True)
  count = len(known)
  chosen = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
  return Draws(chosen.astype(np.float64), place_N)


def interval(values_R: np.ndarray) -> list[float] | None:
  """The central 95 % of the draws as [low, high]; None without a finite one."""
  finite = values_R[np.isfinite(values_R)]
  if not len(finite):
    return None
  low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
  return [float(low), float(high)]
