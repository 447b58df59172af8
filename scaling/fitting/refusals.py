"""Why a number cannot be had from a table: one type for each reason, each with what to do about it.

A refusal is bad input to a program that needs the number, and a warning to one that needs something else (a law
whose coefficients trade off may still predict well): fits carry theirs, `require` raises the first.
"""

from collections.abc import Sequence

from data.errors import BadInput


class Refusal(BadInput):
  """Args as of BadInput: what is wrong, where, the remedy."""

  def __reduce__(self):
    return type(self), (self.what, self.where, self.remedy)

  def as_json(self) -> dict[str, str]:
    return {"refusal": type(self).__name__, "what": self.what, "where": self.where, "remedy": self.remedy}


class TooFewRuns(Refusal):
  """No more runs, sizes or amounts of data than there are coefficients to settle."""


class SingleSize(Refusal):
  """All runs have one N."""


class SingleData(Refusal):
  """All runs have one D."""


class OneLine(Refusal):
  """ln N and ln D vary along one line: a single budget, for one."""


class OneRay(OneLine):
  """All runs have the same tokens per parameter."""


class NoFloor(Refusal):
  """The irreducible loss E is fitted at zero."""


class AtBound(Refusal):
  """An exponent is at the end of the range it may take."""


class IllConditioned(Refusal):
  """Coefficients trade off against one another without the objective noticing."""


class FlatValley(Refusal):
  """A profile-likelihood interval has no end on one side."""


class EdgeMinimum(Refusal):
  """The best size of a budget is its smallest or largest, or the fitted minimum lies outside the sizes."""


class NotConvex(Refusal):
  """Losses of a budget do not curve upwards."""


class MidSchedule(Refusal):
  """Losses from the middle of a decaying schedule stand where ends of runs should."""


def require(refusals: Sequence[Refusal]) -> None:
  """Raises the first refusal, if there is one."""
  if refusals:
    raise refusals[0]
