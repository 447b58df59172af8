"""Intervals over scenes: clips of one scene are not independent, so whole scenes are drawn again, or left out.

A score is a ratio of sums over clips, sum_n a_n / sum_n b_n. A bootstrap draw takes S of the S scenes with
replacement and forms the ratio anew; two scores on the same clips share their draws, so that the interval of their
difference is a paired one. B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 8.
"""

import dataclasses

import numpy as np

from evaluation.gates import bounds

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


def of_ratio(over_N: np.ndarray, under_N: np.ndarray, scene_N: np.ndarray) -> list[float] | None:
  """95 % interval of sum over / sum under of clips, by leaving out scenes and Student's t (evaluation/gates.py): few
  scenes know little of their spread, and t says so. None of one scene alone."""
  there_N = np.asarray(under_N) > 0
  place_N = np.unique(np.asarray(scene_N)[there_N], return_inverse=True)[1]
  over_U, under_U = (
    np.bincount(place_N, np.asarray(values, np.float64)[there_N]) for values in (over_N, under_N)
  )
  if len(under_U) < 2:
    return None
  low, high = bounds(over_U, under_U, (1 + LEVEL) / 2)
  return [float(low), float(high)]
