"""Promote, hold or reject a candidate that runs beside the incumbent, looked at after every record.

Both are scored on the same records (higher is better); d is candidate - incumbent of a unit (a scene), clipped to
[-bound, bound]. Two things may be shown of every slice, each by a bet against its opposite:

  worse       against E[d | past] >= 0:        x = -d
  harmless    against E[d | past] <= -margin:  x = d + margin

  evidence E_n = mean over bets l of prod_{i <= n} (1 + l x_i / bound),       0 < l < 1

Where the opposite holds, every product is a non-negative supermartingale that begins at 1, and so is their mean:
P(ever E_n >= 1 / a) <= a, however often one looks and whenever one stops (J. Ville, 1939). Bets on bounded means:
I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86, 2024,
arXiv:2010.09686; a mixture of them costs a factor of their number at most (H. Robbins, 1970). A t-test repeated after
every record has no such bound: it finds a difference in pure noise, if asked long enough.

  reject    a slice is shown to be worse: E >= slices / false_alarm, so that of all slices together none is, where
            none is worse, but with probability false_alarm (C. Bonferroni, 1936)
  promote   every slice is shown to be harmless, each with E >= 1 / false_alarm: while one slice is worse by margin or
            more, that happens with probability false_alarm at most (R. Berger, "Multiparameter hypothesis testing and
            acceptance sampling", Technometrics 24, 1982)
  hold      neither, so far

A candidate that is worse by less than the margin may end either way: both things are then true.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from data.errors import BadInput

PROMOTE, HOLD, REJECT = "promote", "hold", "reject"

_BETS = 0.9 * 0.5 ** np.arange(8)  # shares of `bound`: the best one is E[x] bound / E[x^2]


@dataclasses.dataclass(frozen=True)
class Rule:
  """false_alarm: rate of either error. margin: of score that may be lost. bound: difference at which scores are cut.

  Raises BadInput for a margin beyond the bound and for a rate that is none.
  """

  false_alarm: float
  margin: float
  bound: float

  def __post_init__(self):
    if not 0 < self.margin < self.bound or not 0 < self.false_alarm < 1:
      what = f"margin {self.margin}, bound {self.bound}, false alarms {self.false_alarm}"
      raise BadInput(what, "the rule", "give 0 < margin < bound, and a rate between 0 and 1")


@dataclasses.dataclass(frozen=True)
class Found:
  """Of one slice: units seen, their mean change of score (cut at the bound), the most evidence there ever was, and the
  number of records after which it sufficed (None: not yet)."""

  units: int
  change: float
  worse: float
  harmless: float
  worse_after: int | None
  harmless_after: int | None


@dataclasses.dataclass(frozen=True)
class Decision:
  """verdict: PROMOTE, HOLD or REJECT, taken after so many records (all of them: HOLD), and what each slice showed."""

  verdict: str
  after: int
  slices: dict[str, Found]

  @property
  def worse(self) -> list[str]:
    """Slices shown to be worse by the time of the decision, the first to be shown first."""
    shown = {name: one.worse_after for name, one in self.slices.items() if one.worse_after is not None}
    return sorted((name for name in shown if shown[name] <= self.after), key=lambda name: shown[name])

  @property
  def open(self) -> list[str]:
    """Slices of which nothing is shown."""
    return [name for name, one in self.slices.items() if one.worse_after is one.harmless_after is None]


def evidence(x_N: np.ndarray, bound: float) -> np.ndarray:
  """log E_n, float64 [..., N], against E[x | past] <= 0, of x [..., N] >= -bound."""
  total = np.full(np.shape(x_N), -np.inf)
  for bet in _BETS:
    np.logaddexp(total, np.log1p(bet / bound * x_N).cumsum(-1), out=total)
  return total - np.log(len(_BETS))


def least_units(rule: Rule, change: float) -> int | None:
  """How many units show a slice to be harmless that gains `change` in each of them; None: no number does."""
  x = min(max(change, -rule.bound), rule.bound) + rule.margin
  if x <= 0:
    return None
  enough = 1 / rule.false_alarm
  # The best bet alone has shown it by then: its product is divided by the number of bets.
  most = int(np.log(len(_BETS) * enough) / np.log1p(_BETS.max() * x / rule.bound)) + 1
  return int((evidence(np.full(most, x), rule.bound) >= np.log(enough)).argmax()) + 1


def decide(
  candidate_N: np.ndarray,
  incumbent_N: np.ndarray,
  unit_N: np.ndarray,
  slices: Mapping[str, np.ndarray],
  rule: Rule,
) -> Decision:
  """The decision on a stream of N records, in the order in which they came.

  Args:
    candidate_N, incumbent_N: scores. unit_N: the scene of each record; those of one lie together.
    slices: name to its records, bool [N].

  Raises BadInput for scores that are not finite, scenes that come back, and no slices.
  """
  if not slices:
    raise BadInput("there is no slice to judge", "the slices", "name one at least")
  if not (np.isfinite(candidate_N).all() and np.isfinite(incumbent_N).all()):
    bad = int(np.flatnonzero(~(np.isfinite(candidate_N) & np.isfinite(incumbent_N)))[0])
    raise BadInput("a score is not finite", f"record {bad}", "mend the run or leave the record out of both")
  if (np.diff(unit_N) != 0).sum() + 1 != len(np.unique(unit_N)):
    raise BadInput(
      "records of one scene do not lie together", "the stream", "give them in the order of their scenes"
    )
  change_N = np.asarray(candidate_N, np.float64) - incumbent_N
  found = {name: _found(change_N, unit_N, inside_N, len(slices), rule) for name, inside_N in slices.items()}
  worse = [one.worse_after for one in found.values() if one.worse_after is not None]
  harmless = [one.harmless_after for one in found.values() if one.harmless_after is not None]
  promoted = max(harmless) if len(harmless) == len(found) else np.inf
  rejected = min(worse, default=np.inf)
  if promoted < rejected:
    return Decision(PROMOTE, int(promoted), found)
  return Decision(REJECT, int(rejected), found) if worse else Decision(HOLD, len(change_N), found)


def _found(change_N, unit_N, inside_N, slices: int, rule: Rule) -> Found:
  place = np.flatnonzero(inside_N)
  if not len(place):
    return Found(0, float("nan"), 1.0, 1.0, None, None)
  first = np.flatnonzero(np.append(True, np.diff(unit_N[place]) != 0))  # of every unit, among those inside
  sizes = np.diff(np.append(first, len(place)))
  d_U = np.clip(np.add.reduceat(change_N[place], first) / sizes, -rule.bound, rule.bound)
  last_U = place[first + sizes - 1]
  worse_U, harmless_U = evidence(-d_U, rule.bound), evidence(d_U + rule.margin, rule.bound)

  def after(log_U, level: float) -> int | None:
    enough = log_U >= np.log(level)
    return int(last_U[enough.argmax()]) + 1 if enough.any() else None

  return Found(
    units=len(d_U),
    change=float(d_U.mean()),
    worse=float(np.exp(min(worse_U.max(), 700.0))),
    harmless=float(np.exp(min(harmless_U.max(), 700.0))),
    worse_after=after(worse_U, slices / rule.false_alarm),
    harmless_after=after(harmless_U, 1 / rule.false_alarm),
  )
