"""What a count of bad events says of a rate, exactly: binomial bounds, and verdicts whose two risks are bounded.

C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934): with k events in n
trials the lower bound is the rate p at which P(X >= k) = risk, the upper bound the one at which P(X <= k) = risk.
"""

import dataclasses
import math
from typing import Literal

import numpy as np

from data.errors import BadInput

Verdict = Literal["worse", "fine", "open"]


def _log_choose(n: int) -> np.ndarray:
  """log of n over k, for k from 0 to n."""
  k = np.arange(1, n + 1)
  return np.concatenate([[0.0], np.cumsum(np.log(n - k + 1) - np.log(k))])


def bounds(events: int, trials: int, risk: float) -> tuple[float, float]:
  """(lower, upper) bound of the rate, each wrong with probability `risk` at most, whatever the rate is.

  Raises BadInput for counts that are none.
  """
  if not 0 <= events <= trials:
    raise BadInput(
      f"{events} events in {trials} trials", "health counts", "count an event once, and every trial"
    )
  choose, k = _log_choose(trials), np.arange(trials + 1)

  def at_most(count: int, rate: float) -> float:
    terms = choose[: count + 1] + k[: count + 1] * math.log(rate)
    return float(np.exp(terms + (trials - k[: count + 1]) * math.log1p(-rate)).sum())

  def at_least(count: int, rate: float) -> float:
    terms = choose[count:] + k[count:] * math.log(rate)
    return float(np.exp(terms + (trials - k[count:]) * math.log1p(-rate)).sum())

  lower, upper = 0.0, 1.0
  if events > 0:
    lower = _crossing(lambda rate: at_least(events, rate) - risk)[0]
  if events < trials:
    upper = _crossing(lambda rate: risk - at_most(events, rate))[1]
  return lower, upper


def _crossing(rising) -> tuple[float, float]:
  """Rates on both sides of where an increasing function of the rate is 0, to the last bits."""
  low, high = 0.0, 1.0
  for _ in range(60):
    middle = (low + high) / 2
    if not low < middle < high:
      break
    low, high = (middle, high) if rising(middle) < 0 else (low, middle)
  return low, high


@dataclasses.dataclass(frozen=True)
class Limit:
  """accepted: events per trial that a release may have, as the incumbent does. margin: beyond it, what it must not."""

  accepted: float
  margin: float

  def __post_init__(self):
    if not (self.accepted >= 0 and self.margin > 0 and self.accepted + self.margin < 1):
      what = f"accepts a rate of {self.accepted:g} with a margin of {self.margin:g}"
      raise BadInput(what, "health limit", "give rates between 0 and 1 and a margin above 0")


def verdict(limit: Limit, events: int, trials: int, risk: float) -> tuple[Verdict, str]:
  """What the counts say, and why: "worse" than accepted, "fine" (within the margin), or "open".

  A release at the accepted rate is called worse, and one beyond the margin fine, with probability `risk` at most.
  """
  lower, upper = bounds(events, trials, risk)
  told = f"{events} of {trials}, a rate of {lower:.4f} to {upper:.4f}"
  if lower > limit.accepted:
    return "worse", f"{told}, more than {limit.accepted:g}"
  if upper < limit.accepted + limit.margin:
    return "fine", f"{told}, less than {limit.accepted + limit.margin:g}"
  return "open", f"{told}, to be told from {limit.accepted:g} and {limit.accepted + limit.margin:g}"
