"""How much a law depends on what it was fitted to: budgets left out, cut off at either end, outliers dropped.

Leave-one-budget-out: fitted to all other budgets and asked for this one's loss. Drift: the coefficients of fits to
windows of neighbouring budgets, the first k and the last k; a law whose exponents walk with the window describes the
window (Hoffmann et al., arXiv:2203.15556, appendix E, find such curvature in their own frontier). A table with more
than MOST budgets, as one of runs at every compute, is cut into MOST pieces of equal numbers of runs instead.

No fit knows of another: each has its own starts (`parametric.subsets`).
"""

import dataclasses

import numpy as np

from scaling import table
from scaling.fitting import identifiability, isoflop, parametric, prediction
from scaling.fitting.isoflop import IsoFlop
from scaling.fitting.refusals import Refusal
from scaling.laws.hoffmann import Law
from scaling.table import Runs

MOST = 12
LEAST_BUDGETS = 3  # in a window; two always lie on a line
STRAY, LEAST = 10.0, 0.05  # robust standard deviations, ln L: from which a run strays
VALUES = ("approach2_a", "approach3_a", "E", "alpha", "beta")


@dataclasses.dataclass(frozen=True)
class LeftOut:
  """Attributes: `flops` C of the budget left out, its number of `runs`; `errors` of the loss in percent, predicted over
  measured, by estimator (`prediction.py`); one that the other budgets do not allow is missing."""

  flops: float
  runs: int
  errors: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Window:
  """Attributes: `flops` C of its first and last budget, number of `runs`; `values` by name as in VALUES; one that the
  window does not settle is missing."""

  flops: tuple[float, float]
  runs: int
  values: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Cut:
  """Attributes: how many of the largest losses were `dropped`, `runs` left; `values` of E, A, B, alpha, beta, a."""

  dropped: int
  runs: int
  values: dict[str, float]


def leave_one_out(runs: Runs, iso: IsoFlop, kind: str) -> tuple[LeftOut, ...]:
  """Every budget left out in turn."""
  index = pieces(runs.flops)
  keep = np.arange(index.max() + 1)[:, None] != index
  laws = _laws(runs, keep, kind)
  found = []
  for k in range(len(keep)):
    others, own = runs.where(keep[k]), runs.where(~keep[k])
    errors: dict[str, float] = {}
    if k in laws:
      profile = next((p for p in iso.profiles if len(p.runs) == len(own) and p.runs.rows == own.rows), None)
      errors = prediction.errors_at(others, own, profile, laws[k], iso.method)
    in_percent = {name: 100 * float(np.expm1(error)) for name, error in errors.items()}
    found.append(LeftOut(float(np.exp(np.log(own.flops).mean())), len(own), in_percent))
  return tuple(found)


def drift(runs: Runs, iso: IsoFlop, kind: str) -> tuple[Window, ...]:
  """The first k budgets for every k, the whole table, and the last k, three budgets at least."""
  index = pieces(runs.flops)
  count = int(index.max()) + 1
  spans = [(0, last) for last in range(LEAST_BUDGETS - 1, count)]
  spans += [(first, count - 1) for first in range(1, count - LEAST_BUDGETS + 1)]
  if not spans:
    return ()
  keep = np.array([(index >= first) & (index <= last) for first, last in spans])
  laws = _laws(runs, keep, kind)
  found = []
  for k, kept in enumerate(keep):
    inside = runs.where(kept)
    ends = float(inside.flops.min()), float(inside.flops.max())
    values: dict[str, float] = {}
    interior = [p for p in iso.interior if ends[0] <= p.flops <= ends[1]]
    if len(interior) >= 2:
      compute, sizes = (np.log([getattr(p, name) for p in interior]) for name in ("flops", "params"))
      values["approach2_a"] = float(np.polyfit(compute, sizes, 1)[0])
    if k in laws:
      own = laws[k]
      values |= {"approach3_a": float(own.a)} | {n: float(getattr(own, n)) for n in ("E", "alpha", "beta")}
    found.append(Window(ends, len(inside), values))
  return tuple(found)


def cuts(runs: Runs, drop: int, kind: str) -> tuple[Cut, ...]:
  """The law with none, `drop` and twice `drop` of the largest losses left out."""
  found = []
  for count in (0, drop, 2 * drop):
    if count >= len(runs):
      continue
    kept = table.drop_largest_losses(runs, count)
    if not unsettled(kept, "the rest"):
      law = parametric.fit(kept.params, kept.tokens, kept.loss, kind).law
      values = {name: float(getattr(law, name)) for name in ("E", "A", "B", "alpha", "beta", "a")}
      found.append(Cut(len(runs) - len(kept), len(kept), values))
  return tuple(found)


def unsettled(runs: Runs, where: str) -> list[Refusal]:
  """Why these runs cannot settle the parametric law, whatever their losses."""
  return identifiability.of_table(runs.params, runs.tokens, parametric.PARAMETERS, where)


def pieces(flops: np.ndarray) -> np.ndarray:
  """int [R]: the budget of each run, or its piece of the range of C when there are too many budgets."""
  index = isoflop.budgets(flops)
  if index.max() < MOST:
    return index
  rank = np.argsort(np.argsort(flops, kind="stable"), kind="stable")
  return rank * MOST // len(flops)


def _laws(runs: Runs, keep: np.ndarray, kind: str) -> dict[int, Law]:
  """By its index, the law of each row of `keep` (bool [K, R]) whose runs settle one."""
  enough = [k for k, kept in enumerate(keep) if kept.sum() > parametric.PARAMETERS]
  settled = [k for k in enough if not unsettled(runs.where(keep[k]), "the others")]
  if not settled:
    return {}
  made = parametric.subsets(runs.params, runs.tokens, runs.loss, kind, keep[settled])
  return dict(zip(settled, made, strict=True))


def strays(residuals: np.ndarray) -> list[int]:
  """Runs [of R] whose residual in ln L is off the middle by over STRAY robust standard deviations, and over LEAST."""
  away = np.abs(residuals - np.median(residuals))
  return np.flatnonzero(away > max(STRAY * 1.4826 * float(np.median(away)), LEAST)).tolist()
