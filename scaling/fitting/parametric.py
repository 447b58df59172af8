"""Approach 3: the parametric law of `laws/hoffmann.py`, fitted to every run at once.

Hoffmann et al. (arXiv:2203.15556), section 3.3, with what Besiroglu et al. (arXiv:2404.10102) found: the objective
is a sum that no absolute tolerance judges, and the outcome must not depend on a start. A grid over (alpha, beta) is
solved for (A, B, E) in closed form (`projection.py`); its best cells are polished together (`solver.py`). Resamples
are weights (runs, clusters of runs) or redrawn losses (noise), one lane each, from the optimum.
"""

import dataclasses

import numpy as np

from scaling.fitting import identifiability, profile, projection, solver
from scaling.fitting.identifiability import Coverage
from scaling.fitting.refusals import Refusal, require
from scaling.laws import hoffmann
from scaling.laws.hoffmann import Law

PARAMETERS = 5
EXPONENTS = (0.02, 2.0)  # of the grid; the polish may go on to half and twice these bounds
GRID, STARTS = 24, 6
SMALLEST_LOG_E = -12.0  # below ln of the lowest loss: E = 0 to every purpose
TABLE = "the run table"


@dataclasses.dataclass(frozen=True)
class Fit:
  """A fitted law.

  Attributes:
    kind: "huber", "lad" or "mse".
    objective: the sum it minimises, of Huber(r), |r| or r^2 / 2 over the runs, r in ln L.
    agreeing: share of the polished starts that reach this objective within 1e-6.
    condition: condition number of the Hessian with unit diagonal.
    coverage: what the runs cover.
    residuals: ln measured - ln law, [R].
    refusals: why the coefficients (not necessarily the predictions) must not be quoted; empty when they may.
    draws: the law of every resample, or None.
  """

  law: Law
  kind: str
  objective: float
  agreeing: float
  condition: float
  coverage: Coverage
  residuals: np.ndarray
  refusals: tuple[Refusal, ...]
  draws: Law | None

  @property
  def warnings(self) -> tuple[str, ...]:
    """The refusals, one clause each."""
    return tuple(refusal.what for refusal in self.refusals)

  def quotable(self) -> Law:
    """The law; raises the first refusal when its coefficients must not be quoted."""
    require(self.refusals)
    return self.law


@dataclasses.dataclass(frozen=True)
class _Table:
  """ln N and ln D about their middle, which keeps the columns of the Jacobian apart; ln L; bounds of theta."""

  columns: tuple[np.ndarray, np.ndarray]
  target: np.ndarray
  middle: tuple[float, float]
  low: np.ndarray
  high: np.ndarray

  def law(self, theta: np.ndarray) -> Law:
    """From [..., 5] about the middle to coefficients."""
    a, b, e, alpha, beta = np.moveaxis(theta, -1, 0)
    return Law(np.exp(e), np.exp(a + alpha * self.middle[0]), np.exp(b + beta * self.middle[1]), alpha, beta)

  def theta(self, law: Law) -> np.ndarray:
    """The inverse of `law` for one law."""
    a, b = np.log(law.A) - law.alpha * self.middle[0], np.log(law.B) - law.beta * self.middle[1]
    return np.array([a, b, np.log(law.E), law.alpha, law.beta])


def fit(
  params: np.ndarray,
  tokens: np.ndarray,
  loss: np.ndarray,
  kind: str,
  weights: np.ndarray | None = None,
  losses: np.ndarray | None = None,
) -> Fit:
  """The law of R runs; the same table gives the same law, from no start.

  Args:
    params, tokens, loss: [R], more than five runs for the coefficients to mean anything.
    kind: "huber", "lad" or "mse" (least squares of ln L).
    weights: [draws, R] of a case or cluster bootstrap; each row is fitted by itself.
    losses: [draws, R] in the place of `loss`, of a noise bootstrap; alone or with weights.
  """
  table = _table(params, tokens, loss)
  first = starts(*table.columns, table.target, STARTS)
  found = solver.minimise_uncompiled(
    hoffmann.log_losses, hoffmann.derivatives, table.columns, table.target, first, kind, table.low, table.high
  )
  law = table.law(found.theta)
  jacobian = hoffmann.derivatives(found.theta[None], table.columns)[0][0]
  condition = identifiability.condition(jacobian)
  exponents = {"alpha": float(law.alpha), "beta": float(law.beta)}
  bounds = float(table.low[3]), float(table.high[3])
  refusals = identifiability.of_table(params, tokens, PARAMETERS, TABLE)
  refusals += identifiability.of_fit(law.E, float(np.min(loss)), exponents, bounds, condition, TABLE)
  made = Fit(
    law, kind, found.objective, found.agreeing, condition, identifiability.coverage(params, tokens),
    table.target - np.log(law.loss(params, tokens)), tuple(refusals), None,
  )  # fmt: skip
  if weights is None and losses is None:
    return made
  return dataclasses.replace(made, draws=resample(made, params, tokens, loss, weights, losses))


def resample(
  found: Fit,
  params: np.ndarray,
  tokens: np.ndarray,
  loss: np.ndarray,
  weights: np.ndarray | None,
  losses: np.ndarray | None,
) -> Law:
  """The law of every resample, from the fitted one; arguments as of `fit`."""
  table = _table(params, tokens, loss)
  targets = table.target if losses is None else np.log(losses)
  theta = table.theta(found.law)
  return table.law(
    solver.lanes(
      hoffmann.log_loss, table.columns, targets, theta, found.kind, table.low, table.high, weights
    )[0]
  )


def subsets(
  params: np.ndarray, tokens: np.ndarray, loss: np.ndarray, kind: str, keep: np.ndarray
) -> list[Law]:
  """The law of each subset of the runs (bool `keep` [K, R]), each from its own starts, all in one call."""
  table = _table(params, tokens, loss)
  n, d, y = *table.columns, table.target
  first = np.concatenate([starts(n[k], d[k], y[k], STARTS) for k in keep])
  weights = np.repeat(keep, STARTS, axis=0).astype(float)
  thetas, values = solver.lanes(
    hoffmann.log_loss, table.columns, y, first, kind, table.low, table.high, weights
  )
  best = np.nanargmin(values.reshape(len(keep), STARTS), axis=1)
  found = table.law(thetas.reshape(len(keep), STARTS, -1)[np.arange(len(keep)), best])
  return [Law(*(float(getattr(found, f.name)[k]) for f in dataclasses.fields(Law))) for k in range(len(keep))]


def intervals(
  found: Fit, params: np.ndarray, tokens: np.ndarray, loss: np.ndarray, level: float = 0.95
) -> dict[str, profile.Interval]:
  """Profile-likelihood intervals of E, A, B, alpha, beta and the allocation exponent a."""
  law = found.law
  columns, target = (np.log(params), np.log(tokens)), np.log(loss)
  table = _table(params, tokens, loss)
  best = np.array([np.log(law.A), np.log(law.B), np.log(law.E), law.alpha, law.beta])
  names = {"A": 0, "B": 1, "E": 2, "alpha": 3, "beta": 4}
  ends = profile.intervals(
    hoffmann.log_loss, columns, target, best, list(names.values()), found.kind, table.low, table.high, level
  )
  made = {n: i.map(np.exp) if n in "ABE" else i for n, i in zip(names, ends, strict=True)}
  best[3:] = law.alpha + law.beta, law.a
  low, high = table.low.copy(), table.high.copy()
  low[3:], high[3:] = (2 * low[3], 0.0), (2 * high[3], 1.0)
  by_a = hoffmann.log_loss_by_allocation
  return made | {"a": profile.intervals(by_a, columns, target, best, [4], found.kind, low, high, level)[0]}


def _table(params: np.ndarray, tokens: np.ndarray, loss: np.ndarray) -> _Table:
  n, d, y = (np.log(np.asarray(v, np.float64)) for v in (params, tokens, loss))
  middle = float(n.mean()), float(d.mean())
  exponents = EXPONENTS[0] / 2, EXPONENTS[1] * 2
  low = np.array([-np.inf, -np.inf, y.min() + SMALLEST_LOG_E, exponents[0], exponents[0]])
  high = np.array([np.inf, np.inf, np.inf, exponents[1], exponents[1]])
  return _Table((n - middle[0], d - middle[1]), y, middle, low, high)


def starts(n: np.ndarray, d: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
  """[count, 5]: the best cells of the (alpha, beta) grid over (ln N, ln D, ln L), A, B, E by least squares.

  ln N and ln D are best given about their middle; ln A and ln B are then to be read there.
  """

  def terms(exponents):
    alpha, beta = exponents[:, :1], exponents[:, 1:]
    return np.stack([np.exp(-alpha * n), np.exp(-beta * d), np.ones((len(alpha), len(n)))], -1)

  axis = np.geomspace(*EXPONENTS, GRID)
  exponents, coefficients, _ = projection.starts(terms, (axis, axis), np.exp(y), count)
  least = np.exp(y.min()) * np.array([1e-6, 1e-6, np.exp(SMALLEST_LOG_E)])
  return np.concatenate([np.log(np.maximum(coefficients, least)), exponents], -1)
