"""Approach 3: the parametric law L(N, D) = E + A / N^alpha + B / D^beta, fitted to every run at once.

Hoffmann et al. (arXiv:2203.15556), section 3.3, with what Besiroglu et al. (arXiv:2404.10102) found: the
objective is a sum (a mean near 1e-3 lets absolute tolerances stop a solver at its start), and the outcome must
not depend on a start. A grid over (alpha, beta) is solved for (A, B, E) in closed form (variable projection);
the best cells are polished by Levenberg-Marquardt on the log-sum-exp form

  r_i = log(exp(a - alpha ln N_i) + exp(b - beta ln D_i) + exp(e)) - ln L_i,   minimise sum_i w_i Huber(r_i)

with a = ln A, b = ln B, e = ln E. Steps are accepted by comparing objectives and damping is relative to the
curvature, so scaling all weights changes nothing. Resamples are weight vectors, vmapped from the optimum. All
in float64 inside a local context: the process may be training in float32.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PARAMETERS = 5
# Huber's delta on ln L; least absolute deviation is its limit, reached in steps; least squares the other one.
DELTAS = {"huber": (1e-3,), "lad": (1e-3, 1e-4, 1e-5, 1e-6, 1e-7), "mse": (np.inf,)}
EXPONENTS = (0.02, 2.0)  # of the grid; the polish may go on to half and twice these bounds
GRID, STARTS, STEPS, RESAMPLE_STEPS = 28, 6, 400, 80
SMALLEST_LOG_E = -12.0  # below ln of the lowest loss: E = 0 to every purpose
ILL_CONDITIONED = 1e6  # of the objective's Hessian, its diagonal scaled to one
PADDING = 32  # tables are padded with weightless rows to a multiple, so that few shapes are compiled


@dataclasses.dataclass(frozen=True)
class Law:
  """Coefficients, each a float or an array over draws; N in parameters, D in tokens, loss in nats per token."""

  E: Any
  A: Any
  B: Any
  alpha: Any
  beta: Any

  def loss(self, params, tokens) -> Any:
    """L(N, D) in nats per token."""
    law = self.E + self.A * np.exp(-self.alpha * np.log(params))
    return law + self.B * np.exp(-self.beta * np.log(tokens))

  @property
  def a(self) -> Any:
    """Exponent of N*(C) under C = 6 N D."""
    return self.beta / (self.alpha + self.beta)

  @property
  def b(self) -> Any:
    """Exponent of D*(C) under C = 6 N D."""
    return self.alpha / (self.alpha + self.beta)

  def optimum(self, flops: float) -> tuple[Any, Any]:
    """N*, D* of least loss under 6 N D = `flops`, in closed form (eq. 4 of the source)."""
    scale = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
    return scale * (flops / 6) ** self.a, (flops / 6) ** self.b / scale


@dataclasses.dataclass(frozen=True)
class Fit:
  """A fitted law.

  Attributes:
    objective: the sum it minimises, of Huber(r), |r| or r^2 / 2 over the runs.
    agreeing: share of the polished starts that reach this objective within 1e-6.
    condition: condition number of the Hessian with unit diagonal.
    residuals: ln measured - ln law, [R].
    warnings: what makes the coefficients (not necessarily the predictions) doubtful.
    draws: the law of every resample, or None.
  """

  law: Law
  kind: str
  objective: float
  agreeing: float
  condition: float
  residuals: np.ndarray
  warnings: tuple[str, ...]
  draws: Law | None


def fit(
  params: np.ndarray,
  tokens: np.ndarray,
  loss: np.ndarray,
  kind: str,
  weights: np.ndarray | None = None,
) -> Fit:
  """The law of R runs; the same table gives the same law, from no start.

  Args:
    params, tokens, loss: [R], more than five runs for the coefficients to mean anything.
    kind: "huber", "lad" or "mse" (least squares of ln L).
    weights: [draws, R] of a bootstrap; each row is fitted by itself, from the optimum.
  """
  n, d, y = (np.log(np.asarray(v, np.float64)) for v in (params, tokens, loss))
  middle = n.mean(), d.mean()  # distances from it keep the columns of the Jacobian apart
  n, d = n - middle[0], d - middle[1]
  with jax.enable_x64(True):
    rows = tuple(jnp.asarray(np.pad(v, (0, -len(y) % PADDING))) for v in (n, d, y))
    ones = jnp.asarray(np.pad(np.ones((1, len(y))), ((0, 0), (0, -len(y) % PADDING))))
    low, high = _bounds(y)
    thetas = jnp.asarray(_starts(n, d, y))
    for delta in DELTAS[kind]:
      thetas, values = _polish(thetas, ones, rows, low, high, delta, STEPS)
    theta, objectives = np.array(thetas[jnp.argmin(values)]), np.array(values)
    if weights is not None:
      padded = jnp.asarray(np.pad(np.asarray(weights, np.float64), ((0, 0), (0, -len(y) % PADDING))))
      resampled = _polish(
        jnp.asarray(theta)[None], padded, rows, low, high, DELTAS[kind][-1], RESAMPLE_STEPS
      )[0]
      drawn = np.array(resampled)
  law = _law(theta, *middle)
  residuals = y - np.log(law.loss(params, tokens))
  best = float(objectives.min())
  objective = float(np.abs(residuals).sum()) if kind == "lad" else best
  condition = _condition(theta, n, d)
  agreeing = float(np.mean(objectives <= best * (1 + 1e-6) + 1e-300))
  warnings = _warnings(theta, law, n, d, y, condition)
  draws = None if weights is None else _law(drawn, *middle)
  return Fit(law, kind, objective, agreeing, condition, residuals, warnings, draws)


def _law(theta: np.ndarray, middle_n: float, middle_d: float) -> Law:
  """From [..., 5] about the table's middle to coefficients."""
  a, b, e, alpha, beta = np.moveaxis(theta, -1, 0)
  return Law(np.exp(e), np.exp(a + alpha * middle_n), np.exp(b + beta * middle_d), alpha, beta)


def _bounds(y: np.ndarray) -> tuple[jax.Array, jax.Array]:
  exponents = EXPONENTS[0] / 2, EXPONENTS[1] * 2
  low = [-np.inf, -np.inf, y.min() + SMALLEST_LOG_E, exponents[0], exponents[0]]
  return jnp.asarray(low), jnp.asarray([np.inf, np.inf, np.inf, exponents[1], exponents[1]])


def _starts(n: np.ndarray, d: np.ndarray, y: np.ndarray) -> np.ndarray:
  """The best cells of the (alpha, beta) grid, [starts, 5]; A, B, E by least squares, none of them negative."""
  axis = np.geomspace(*EXPONENTS, GRID)
  alpha, beta = (g.ravel()[:, None] for g in np.meshgrid(axis, axis))
  columns = np.stack([np.exp(-alpha * n), np.exp(-beta * d), np.ones_like(alpha * n)], -1)
  columns = columns / np.exp(y)[:, None]  # residuals relative to L are, to first order, those of ln L
  best, error = np.zeros((len(alpha), 3)), np.full(len(alpha), np.inf)
  for used in ([0, 1, 2], [0, 1], [0, 2], [1, 2]):
    solved = np.zeros_like(best)
    solved[:, used] = np.linalg.pinv(columns[..., used], rcond=1e-13).sum(-1)
    squares = np.square((columns @ solved[..., None])[..., 0] - 1).sum(-1)
    better = (solved >= 0).all(-1) & (squares < error)
    best[better], error[better] = solved[better], squares[better]
  lowest = np.exp(y.min())
  logs = np.log(np.maximum(best, lowest * np.array([1e-6, 1e-6, np.exp(SMALLEST_LOG_E)])))
  order = np.argsort(error, kind="stable")[:STARTS]
  return np.concatenate([logs, alpha, beta], -1)[order]


@jax.jit(static_argnames="steps")
def _polish(thetas, weights, rows, low, high, delta, steps):
  """Every start under every weight vector: (theta [S, 5], objective [S]) where one of the two sizes is 1."""
  size = max(len(thetas), len(weights))
  thetas = jnp.broadcast_to(thetas, (size, PARAMETERS))
  weights = jnp.broadcast_to(weights, (size, weights.shape[1]))
  solve = jax.vmap(_levenberg_marquardt, (0, 0, None, None, None, None, None))
  return solve(thetas, weights, rows, low, high, delta, steps)


def _terms(theta, n, d):
  """ln L of the law and its Jacobian [R, 5]: soft-max shares times (1, 1, 1, -ln N, -ln D)."""
  a, b, e, alpha, beta = theta
  parts = jnp.stack([a - alpha * n, b - beta * d, jnp.broadcast_to(e, n.shape)])
  total = jax.nn.logsumexp(parts, axis=0)
  share = jnp.exp(parts - total[None, :])
  return total, jnp.stack([share[0], share[1], share[2], -n * share[0], -d * share[1]], 1)


def _levenberg_marquardt(theta, weights, rows, low, high, delta, steps):
  """A fixed number of damped Gauss-Newton steps, reweighted after Huber; (theta, objective)."""
  n, d, y = rows

  def objective(theta):
    size = jnp.abs(_terms(theta, n, d)[0] - y)
    return jnp.sum(weights * jnp.where(size <= delta, size**2 / 2, delta * (size - delta / 2)))

  def step(carry, _):
    theta, value, damping = carry
    total, jacobian = _terms(theta, n, d)
    r = total - y
    w = weights * jnp.minimum(1.0, delta / jnp.maximum(jnp.abs(r), 1e-300))
    normal = jacobian.T @ (w[:, None] * jacobian)
    diagonal = jnp.diag(normal)
    ridge = damping * jnp.diag(jnp.maximum(diagonal, 1e-12 * diagonal.max()))
    candidate = jnp.clip(theta + jnp.linalg.solve(normal + ridge, -jacobian.T @ (w * r)), low, high)
    new = objective(candidate)
    better = new < value  # False for NaN: such a step is refused
    damping = jnp.clip(jnp.where(better, damping * 0.2, damping * 5), 1e-14, 1e9)
    return (jnp.where(better, candidate, theta), jnp.where(better, new, value), damping), None

  begin = (theta, objective(theta), jnp.asarray(1e-3, theta.dtype))
  (theta, value, _), _ = jax.lax.scan(step, begin, None, length=steps)
  return theta, value


def _condition(theta: np.ndarray, n: np.ndarray, d: np.ndarray) -> float:
  with jax.enable_x64(True):
    jacobian = np.array(_terms(jnp.asarray(theta), jnp.asarray(n), jnp.asarray(d))[1])
  columns = jacobian / np.maximum(np.linalg.norm(jacobian, axis=0), 1e-300)
  return float(np.linalg.cond(columns) ** 2)


def _warnings(theta, law: Law, n, d, y, condition: float) -> tuple[str, ...]:
  found = []
  if len(y) <= PARAMETERS:
    found.append(f"{len(y)} runs cannot settle {PARAMETERS} coefficients")
  if condition > ILL_CONDITIONED:
    found.append(
      f"the coefficients trade off against each other (condition {condition:.1e}): not identifiable"
    )
  if np.log(law.E) < y.min() - 7:  # a thousandth
    found.append("E is at 0: the table does not reach far enough to show the irreducible loss")
  for name, value in (("alpha", law.alpha), ("beta", law.beta)):
    if not EXPONENTS[0] / 2 * 1.001 < value < EXPONENTS[1] * 2 * 0.999:
      found.append(f"{name} is at its bound, {value:.3g}")
  covariance = np.cov(n, d)
  if np.linalg.eigvalsh(covariance)[0] < 0.01:  # less than 10% of spread across the line
    found.append("N and D vary together, along one line: alpha and beta cannot be told apart")
  return tuple(found)
