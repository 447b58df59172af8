"""Muennighoff et al., "Scaling Data-Constrained Language Models" (arXiv:2305.16264): repeated data.

N parameters, D tokens seen, U unique tokens among them. Repeats, and parameters beyond what U can use, lose value:

  D' = U + U R_D* (1 - exp(-R_D / R_D*)),      R_D = max(D / U - 1, 0)      repeats of the data
  N' = U_N + U_N R_N* (1 - exp(-R_N / R_N*)),  R_N = max(N / U_N - 1, 0)    excess of parameters
  L(N, D, U) = E + A / N'^alpha + B / D'^beta

U_N = min(N, N_opt(U)) with N_opt(U) = G (U G)^(beta / alpha), the size for which U is the optimal amount of data.
R_D* and R_N* are the constants fitted to repeated runs, the other five taken from runs without repeats. On the runs
of the source the two trade off along a flat valley: quote the objective and their profiles, not their digits.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from scaling.fitting import profile, solver
from scaling.laws import hoffmann

FREE = np.array([False] * 5 + [True] * 2)
BOUNDS = np.log(0.01), np.log(1e5)  # of R*: beyond, repeats are worth nothing, or as much as new data


@dataclasses.dataclass(frozen=True)
class Law:
  """`base`: the law without repeats; `r_data` R_D*, `r_params` R_N*."""

  base: hoffmann.Law
  r_data: float
  r_params: float

  def effective_data(self, tokens, unique):
    """D' in tokens."""
    return _saturated(unique, tokens, self.r_data)

  def effective_params(self, params, unique):
    """N' in parameters."""
    usable = np.minimum(params, self.base.optimal_params(unique))
    return _saturated(usable, params, self.r_params)

  def loss(self, params, tokens, unique):
    """L(N, D, U) in nats per token."""
    unique = np.minimum(unique, tokens)
    return self.base.loss(self.effective_params(params, unique), self.effective_data(tokens, unique))

  def allocation(self, flops: float, unique: float) -> tuple[float, float]:
    """N*, D* of least loss under 6 N D = `flops` with `unique` tokens at hand.

    A grid in ln N, narrowed around its best cell; at most the law's kinks are missed, where the loss is level.
    """
    low, high = np.log(self.base.optimum(flops)[0]) + np.array([-10.0, 10.0])
    while high - low > 1e-9:
      grid = np.linspace(low, high, 257)
      size = np.exp(grid)
      k = int(np.clip(np.argmin(self.loss(size, flops / (6 * size), unique)), 1, len(grid) - 2))
      low, high = grid[k - 1], grid[k + 1]
    params = float(np.exp((low + high) / 2))
    return params, flops / (6 * params)


def _saturated(unique, seen, r_star):
  """unique + unique R* (1 - exp(-R / R*)), R repeats of what is unique."""
  repeats = np.maximum(seen / unique - 1, 0.0)
  return unique + unique * r_star * -np.expm1(-repeats / r_star)


def log_loss(theta, columns):
  """ln L at theta = (ln A, ln B, ln E, alpha, beta, ln R_D*, ln R_N*); columns (ln N, ln D, ln U)."""
  a, b, _, alpha, beta, log_r_data, log_r_params = theta
  n, d, u = columns
  log_g = (jnp.log(alpha / beta) + a - b) / (alpha + beta)
  usable = jnp.minimum(n, log_g + (u + log_g) * beta / alpha)
  size, data = _log_saturated(usable, n, log_r_params), _log_saturated(u, d, log_r_data)
  return hoffmann.log_loss(theta[:5], (size, data))


def _log_saturated(unique, seen, log_r_star):
  repeats, r_star = jnp.expm1(jnp.maximum(seen - unique, 0.0)), jnp.exp(log_r_star)
  return unique + jnp.log1p(r_star * -jnp.expm1(-repeats / r_star))


@dataclasses.dataclass(frozen=True)
class Fit:
  """Attributes: `law`; `objective`, `agreeing` of `solver.Minimum`; `intervals` of r_data and r_params by profile
  likelihood (None at an end that the runs do not close); `ridge`: why neither may be quoted alone, or empty."""

  law: Law
  objective: float
  agreeing: float
  intervals: dict[str, profile.Interval]
  ridge: str


def fit(
  base: hoffmann.Law, params: np.ndarray, tokens: np.ndarray, unique: np.ndarray, loss: np.ndarray,
  kind: str = "huber", level: float = 0.95,
) -> Fit:  # fmt: skip
  """R_D*, R_N* from R runs with the five coefficients of `base` held; residuals in ln L."""
  columns, target = tuple(np.log(v) for v in (params, tokens, np.minimum(unique, tokens))), np.log(loss)
  held = [np.log(base.A), np.log(base.B), np.log(base.E), base.alpha, base.beta]
  starts = np.array([[*held, np.log(r), np.log(s)] for r in (1.0, 10.0, 100.0) for s in (1.0, 10.0, 100.0)])
  low, high = (np.array([*held, bound, bound]) for bound in BOUNDS)
  found = solver.minimise(log_loss, columns, target, starts, kind, low, high, free=FREE)
  both = profile.intervals(log_loss, columns, target, found.theta, [5, 6], kind, low, high, level, FREE)
  intervals = {name: i.map(np.exp) for name, i in zip(("r_data", "r_params"), both, strict=True)}
  law = Law(base, float(np.exp(found.theta[5])), float(np.exp(found.theta[6])))
  return Fit(law, found.objective, found.agreeing, intervals, _ridge(intervals))


def _ridge(intervals: dict[str, profile.Interval]) -> str:
  wide = [n for n, i in intervals.items() if i.low is None or i.high is None or i.high / i.low > 3]
  return f"{' and '.join(wide)} trade off along a flat valley: quote their profiles" if wide else ""
