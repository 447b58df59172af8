"""Profile-likelihood intervals: how far one coefficient can go while all others make the best of it.

For coefficient j held at v, Q_j(v) is the objective minimised over the others. Near its minimum

  2 (Q_j(v) - Q_min) (H^-1)_jj / (H^-1 V H^-1)_jj  ~  chi^2 with one degree of freedom

where H is the curvature of Q and V the covariance of its gradient over the runs. For squared loss and equal noise the
factor is 1 / sd^2 and this is the likelihood ratio; the sandwich keeps it right for robust losses and for runs of
unequal noise (Rotnitzky and Jewell, Biometrika 1990), as digitised points are. V takes residuals over one minus their
leverage (HC3: MacKinnon and White, 1985); for Huber and absolute losses H counts the runs near zero (Powell, 1984).
The quantile is Student's. A coefficient whose profile never rises that far sits in a flat valley: its interval has no
end on that side, which is reported, not hidden behind a standard error.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from scaling.fitting import solver
from scaling.fitting.bootstrap import quantile
from scaling.fitting.refusals import FlatValley
from scaling.fitting.solver import Model

# Distances from the optimum in Wald standard errors; far ones show valleys that curve away or stay flat.
REACH = (0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8, 3.2, 4.0, 5.0, 6.5, 9.0, 14.0, 25.0)
# Share of the runs that tell the density of residuals at zero: three tenths, more of them in a small table.
CENTRE, MOST_CENTRE, CENTRE_RUNS = 0.3, 0.6, 30


@dataclasses.dataclass(frozen=True)
class Interval:
  """[low, high]; an end that the objective does not close is None.

  values, ratios: the profile that was walked, [K], ascending in value.
  """

  low: float | None
  high: float | None
  values: np.ndarray
  ratios: np.ndarray

  @property
  def closed(self) -> bool:
    return self.low is not None and self.high is not None

  def map(self, function: Callable) -> "Interval":
    """The interval of an increasing function of the coefficient; an end that it carries beyond float64 is open."""
    with np.errstate(over="ignore"):
      ends = (None if v is None else float(function(v)) for v in (self.low, self.high))
      low, high = (v if v is not None and np.isfinite(v) else None for v in ends)
      return Interval(low, high, function(self.values), self.ratios)

  def differs(self, other: Sequence[float]) -> bool:
    """Whether an end of this closed interval is off the other's by over a third of their mean width."""
    if self.low is None or self.high is None:
      return False
    width = ((self.high - self.low) + (other[1] - other[0])) / 2
    return max(abs(self.low - other[0]), abs(self.high - other[1])) > width / 3

  def refusal(self, name: str, where: str) -> FlatValley | None:
    """A refusal when an end is missing."""
    if self.closed:
      return None
    side = "below" if self.low is None else "above"
    what = f"{name} is not bounded from {side} by the runs: its estimate lies in a flat valley"
    return FlatValley(what, where, "quote predictions, or add runs that tell its values apart")


def intervals(
  model: Model,
  columns: Sequence[np.ndarray],
  target: np.ndarray,
  best: np.ndarray,
  indices: Sequence[int],
  kind: str,
  low: np.ndarray,
  high: np.ndarray,
  level: float,
  free: np.ndarray | None = None,
  weights: np.ndarray | None = None,
) -> list[Interval]:
  """The interval of each coefficient in `indices` around the minimum `best` [P]; other arguments as of `solver`."""
  free = np.ones(len(best), bool) if free is None else free
  predicted, jacobian = solver.linearise(model, columns, best)
  residuals = predicted - target
  unit = units(kind, residuals, jacobian, free)
  covariance = _covariance(jacobian, free, residuals)
  starts, held = [best], [free]
  for index in indices:
    variance = covariance[index, index]
    # A coefficient that the runs say nothing of at all is walked in steps of one, alone.
    error = math.sqrt(variance) if variance > 0 else 1.0
    # The others, to first order.
    path = covariance[index] / variance if variance > 0 else np.eye(len(best))[index]
    for away in sorted([-r for r in REACH] + list(REACH)):
      start = np.clip(best + away * error * path, low, high)
      start[index] = np.clip(best[index] + away * error, low[index], high[index])
      starts.append(start)
      held.append(free & (np.arange(len(best)) != index))
  values = solver.lanes(model, columns, target, np.array(starts), kind, low, high, weights, np.array(held))[1]
  shape = len(indices), 2 * len(REACH)
  ratios = np.maximum(values[1:] - values[0], 0.0).reshape(shape) * unit[list(indices), None]
  critical = quantile(level, len(target) - int(free.sum())) ** 2
  walked = np.array(starts[1:]).reshape(*shape, -1), ratios
  return [
    _interval(best[index], at[:, index], risen, critical)
    for index, at, risen in zip(indices, *walked, strict=True)
  ]


def units(
  kind: str, residuals: np.ndarray, jacobian: np.ndarray, free: np.ndarray, delta: float = solver.DELTA
) -> np.ndarray:
  """[P]: what turns a rise of the objective, in the profile of each coefficient, into chi^2."""
  size, runs = np.abs(residuals), len(residuals)
  if kind == "mse":
    curvature, psi = np.ones(runs), size
  else:
    share = min(max(CENTRE, CENTRE_RUNS / runs), MOST_CENTRE)
    near = max(float(np.quantile(size, share)), 1e-300)
    delta = 1e-3 * near if kind == "lad" else delta
    curvature = np.where(size <= max(near, delta), min(1.0, delta / near), 0.0)
    psi = np.minimum(size, delta)
  unit = (jacobian / np.maximum(np.linalg.norm(jacobian, axis=0), 1e-300))[:, free]
  leverage = np.minimum(np.square(np.linalg.qr(unit)[0]).sum(1), 0.9)
  inverse = np.linalg.pinv(unit.T @ (curvature[:, None] * unit), rcond=1e-12, hermitian=True)
  gradient = unit.T @ (np.square(psi / (1 - leverage))[:, None] * unit)
  spread = np.diag(inverse @ gradient @ inverse)
  made = np.ones(len(free))
  made[free] = 2 * np.diag(inverse) / np.maximum(spread, 1e-300)
  return made * delta if kind == "lad" else made  # the objective of lad is the Huber one over delta


def _covariance(jacobian: np.ndarray, free: np.ndarray, residuals: np.ndarray) -> np.ndarray:
  """Wald covariance [P, P] of the free coefficients, a pseudo-inverse where the runs do not settle them."""
  norms = np.maximum(np.linalg.norm(jacobian, axis=0), 1e-150)
  unit = (jacobian / norms)[:, free]
  spread = max(float(np.mean(residuals**2)), 1e-30)
  made = np.zeros((len(free), len(free)))
  made[np.ix_(free, free)] = np.linalg.pinv(unit.T @ unit, rcond=1e-14, hermitian=True) * spread
  made /= np.outer(norms, norms)
  made[~free, ~free] = 1.0
  return made


def _interval(best: float, values: np.ndarray, ratios: np.ndarray, critical: float) -> Interval:
  """Ends where the square root of the ratio, nearly a straight line on each side, crosses its quantile."""

  def end(side: np.ndarray) -> float | None:
    order = np.argsort(np.abs(values[side] - best), kind="stable")
    x = np.concatenate([[best], values[side][order]])
    root = np.sqrt(np.concatenate([[0.0], ratios[side][order]]))
    above = np.flatnonzero(root > math.sqrt(critical))
    if not len(above):
      return None
    k = int(above[0])
    share = (math.sqrt(critical) - root[k - 1]) / (root[k] - root[k - 1])
    return float(x[k - 1] + share * (x[k] - x[k - 1]))

  return Interval(end(values < best), end(values > best), values, ratios)
