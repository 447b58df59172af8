"""Whether one set of weights may follow another: what must not get worse, told apart from noise.

Both are judged on the same records. A gate is a part of them: an earlier domain, or a canary, a slice that is
watched for being rare and costly. Its change is the difference of the two mean losses, both of a record together,
which leaves only the noise of the difference. Records of one unit (a scene) are not independent, so whole units are
left out, one by one, to learn its standard error (the jackknife):

  c = sum_i a_i / sum_i b_i,   c_-i = the same without unit i,   se^2 = (U - 1) / U sum_i (c_-i - mean c_-i)^2

for U units with differences of losses a_i over counts b_i. Its bounds are c -+ t se, t the quantile of Student's t
with U - 1 degrees of freedom, as few units do not know their spread. J. Tukey, "Bias and Confidence in Not-quite
Large Samples", Annals of Mathematical Statistics 29, 1958; B. Efron and R. Tibshirani, "An Introduction to the
Bootstrap", 1993, chapter 11.

  regression   closed when even the lower confidence bound of the change lies above what is allowed
  canary       closed unless even the upper bound lies at or below it: too few units to tell keep it closed

The second asks that non-inferiority is shown (G. Piaggio et al., "Reporting of Noninferiority and Equivalence
Randomized Trials", JAMA 308, 2012), as a rare slice would otherwise pass for being rare.

With m gates each bound is taken at level 1 - (1 - confidence) / m, so that noise alone closes any gate against
regressions, or opens any canary to weights that are worse, no oftener than 1 - confidence (C. Bonferroni, 1936). That
holds from eight units on for noise that is as often above as below. Where a few units change much and most do not,
few units show too little of it: with changes distributed exponentially and 1 - confidence 5 %, a canary opened at what
is allowed in 14 % of cases over 8 units and in 10 % over 30.
"""

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from data.errors import BadInput

_LEAST_UNITS = 8  # fewer say nothing about their own spread
_GRID = 20_001  # of angles: quantiles to 1e-5 of themselves


@dataclasses.dataclass(frozen=True)
class Losses:
  """Per record: sum_N and count_N of its loss, and unit_N, the number of the scene or log it was cut from."""

  sum_N: np.ndarray
  count_N: np.ndarray
  unit_N: np.ndarray


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Of one gate, in the loss's unit: mean losses before and after, their change, its lower and upper bound.

  units: independent ones it rests on. allowed: how much worse it may be. canary: its kind. closed: whether it is worse
  than that or, of a canary, not shown not to be.
  """

  before: float
  after: float
  change: float
  low: float
  high: float
  units: int
  allowed: float
  canary: bool
  closed: bool

  def sentence(self, name: str) -> str:
    verb = "is worse" if self.change > 0 else "is better"
    return (
      f"{name} {verb} by {abs(self.change):.4f} [{self.low:+.4f}, {self.high:+.4f}] over {self.units} units,"
      f" {self.allowed:.4f} is allowed"
    ) + (" and must be shown" if self.canary else "")


def judge(
  before: Losses,
  after: Losses,
  gates: Mapping[str, tuple[np.ndarray, float]],
  confidence: float,
  canaries: Collection[str] = (),
) -> dict[str, Verdict]:
  """The verdict of every gate.

  Args:
    before, after: of the two sets of weights, on the same records in the same order.
    gates: name to (its records, bool [N]; by how much their mean loss may rise).
    confidence: that noise closes no gate and opens no canary, such as 0.95.
    canaries: names of the gates that are canaries.

  Raises BadInput when the records differ, for a loss that is not finite (weights that have diverged are not judged),
  for a canary that is no gate, and for a gate with too few units to know its noise.
  """
  for one, other in ((before.count_N, after.count_N), (before.unit_N, after.unit_N)):
    if one.shape != other.shape or not np.array_equal(one, other):
      raise BadInput("the two were judged on different records", "gates", "evaluate both on one split")
  for whose, losses in (("that would follow", after), ("that are followed", before)):
    broken = int(((losses.count_N > 0) & ~np.isfinite(losses.sum_N)).sum())
    if broken:
      what = f"the loss of the weights {whose} is not finite in {broken} of {len(losses.sum_N)} records"
      raise BadInput(what, "gates", "give weights that have not diverged")
  if missing := sorted(set(canaries) - gates.keys()):
    raise BadInput(f"canary {missing[0]!r} is no gate", "gates", f"choose of {', '.join(gates)}")
  level = 1.0 - (1.0 - confidence) / max(1, len(gates))
  return {
    name: _verdict(name, before, after, inside_N, allowed, level, name in canaries)
    for name, (inside_N, allowed) in gates.items()
  }


def closed(verdicts: Mapping[str, Verdict]) -> list[str]:
  """A sentence for every closed gate; none: the new weights may follow."""
  return [verdict.sentence(name) for name, verdict in verdicts.items() if verdict.closed]


def bounds(over_xU: np.ndarray, under_xU: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
  """The lower and the upper bound [...] of sum over / sum under of units [..., U], each alone at that level."""
  over, under = over_xU.sum(-1, keepdims=True), under_xU.sum(-1, keepdims=True)
  units = over_xU.shape[-1]
  without = (over - over_xU) / (under - under_xU)
  error = np.sqrt((units - 1) * without.var(-1))
  reach = student_quantile(level, units - 1) * error
  return (over / under)[..., 0] - reach, (over / under)[..., 0] + reach


def student_quantile(level: float, freedom: int) -> float:
  """Of Student's t with that many degrees of freedom, for a level above 1/2.

  t = sqrt(freedom) tan(angle), where the angle's density is as cos(angle)^(freedom - 1).
  """
  angle = np.linspace(0.0, np.pi / 2, _GRID)[:-1]
  density = np.cos(angle) ** (freedom - 1)
  below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
  return float(np.sqrt(freedom) * np.tan(np.interp((2 * level - 1) * below[-1], below, angle)))


def _verdict(
  name: str,
  before: Losses,
  after: Losses,
  inside_N: np.ndarray,
  allowed: float,
  level: float,
  canary: bool,
) -> Verdict:
  inside_N = inside_N & (before.count_N > 0)
  unit_N = np.unique(before.unit_N[inside_N], return_inverse=True)[1]
  units = int(unit_N.max(initial=-1)) + 1
  if units < _LEAST_UNITS:
    what = f"{units} scenes tell no noise"
    raise BadInput(what, f"gate {name}", f"hold out {_LEAST_UNITS} of them or more, or widen the slice")
  count_N, old_N, new_N = (values[inside_N] for values in (before.count_N, before.sum_N, after.sum_N))
  low, high = bounds(np.bincount(unit_N, new_N - old_N), np.bincount(unit_N, count_N), level)
  old, new = old_N.sum() / count_N.sum(), new_N.sum() / count_N.sum()
  return Verdict(
    before=float(old),
    after=float(new),
    change=float(new - old),
    low=float(low),
    high=float(high),
    units=units,
    allowed=allowed,
    canary=canary,
    closed=not (high if canary else low) <= allowed,  # what is no number closes
  )
