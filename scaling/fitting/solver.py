"""Fits any small law to a table: batched Levenberg-Marquardt for robust losses, in float64, from many starts at once.

Minimises sum_i w_i rho(m_i(theta) - y_i) over theta within bounds, where m is a law's prediction and rho is

  huber  r^2 / 2 up to delta, delta (|r| - delta / 2) beyond
  lad    |r|, reached through Huber losses of shrinking delta
  mse    r^2 / 2

Each step tries two directions and keeps the lower outcome: Newton on the true Hessian (fast once the runs inside
delta are known) and reweighted Gauss-Newton (weights min(1, delta / |r|); steady from afar). Damping is relative to
the steepest curvature seen so far (Marquardt, 1963; More, 1978), steps are judged by comparing objectives, and a lane
rests when a step promises nothing relative to its objective: nothing absolute is left, so that multiplying the
objective changes no outcome. (With absolute tolerances a mean of Huber losses, near 1e-3, stops L-BFGS-B at its start:
Besiroglu et al., arXiv:2404.10102.)

A lane is one (start, weights, target, free): starts, bootstrap draws and points of a profile are all lanes of one
vmapped call. Everything runs inside a local x64 context: the process may be training in float32.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scaling.fitting import descent

# (theta [P], columns of [R] each) -> predictions [R]; a module-level function, compiled once for each table length.
Model = Callable[[Any, Any], Any]
KINDS = ("huber", "lad", "mse")
DELTA = 1e-3
LAD_STEPS = 5  # delta, delta / 10, ...: five reach least absolute deviation to 1e-6 of its objective
ROWS, LANES = 16, 16  # rows are padded to a multiple, lanes run in groups that stay in the cache: few shapes
FEW = 256  # up to so many lanes compiling well costs more than it saves
NOTHING = 1e-10  # a residual that is none: tells whether starts agree on a table without noise


@dataclasses.dataclass(frozen=True)
class Rules:
  """When a lane grows bold, cautious, or rests.

  limit: steps of one lane and delta; a usual lane takes 6 to 12.
  patience: refused steps in a row, each ten times as cautious as the one before.
  still, rounding: of the objective; an undamped step that promises less than `still` is the last.
  first_damping, least_damping, undamped: of the steepest curvature so far.
  bolder, cautious: factor after a fall; least damping after a refusal.
  """

  limit: int = 400
  patience: int = 10
  still: float = 1e-14
  rounding: float = 1e-15
  first_damping: float = 1e-3
  least_damping: float = 1e-13
  undamped: float = 1e-9
  bolder: float = 0.01
  cautious: float = 1e-6


RULES = Rules()


@dataclasses.dataclass(frozen=True)
class Minimum:
  """Attributes: `theta` [P] of the lowest lane; its `objective`, in the sum of the kind (|r| for lad);
  `agreeing`, the share of starts that reached it within 1e-6 of it."""

  theta: np.ndarray
  objective: float
  agreeing: float


def minimise(
  model: Model,
  columns: Sequence[np.ndarray],
  target: np.ndarray,
  starts: np.ndarray,
  kind: str,
  low: np.ndarray,
  high: np.ndarray,
  weights: np.ndarray | None = None,
  free: np.ndarray | None = None,
  delta: float = DELTA,
) -> Minimum:
  """The lowest outcome from `starts` [S, P]; `target`, `weights` and every column [R]; see `lanes`."""
  thetas, values = lanes(model, columns, target, starts, kind, low, high, weights, free, delta)
  return _lowest(thetas, values, kind, len(target) if weights is None else float(np.sum(weights)))


def minimise_uncompiled(
  predict: descent.Predict, derive: descent.Derive, columns: Sequence[np.ndarray], target: np.ndarray,
  starts: np.ndarray, kind: str, low: np.ndarray, high: np.ndarray, delta: float = DELTA,
) -> Minimum:  # fmt: skip
  """`minimise` for a model with derivatives of its own, in NumPy: for a few starts, sooner done than compiled."""
  thetas = starts
  for step in _deltas(kind, delta):
    thetas, values, deviations = descent.lanes(
      predict, derive, columns, target, thetas, step, low, high, RULES
    )
  return _lowest(thetas, deviations if kind == "lad" else values, kind, len(target))


def _lowest(thetas: np.ndarray, values: np.ndarray, kind: str, total: float) -> Minimum:
  best = int(np.nanargmin(values))
  nothing = total * (NOTHING if kind == "lad" else NOTHING**2)
  agreeing = float(np.mean(values <= values[best] * (1 + 1e-6) + nothing))
  return Minimum(thetas[best], float(values[best]), agreeing)


def lanes(
  model: Model,
  columns: Sequence[np.ndarray],
  targets: np.ndarray,
  starts: np.ndarray,
  kind: str,
  low: np.ndarray,
  high: np.ndarray,
  weights: np.ndarray | None = None,
  free: np.ndarray | None = None,
  delta: float = DELTA,
) -> tuple[np.ndarray, np.ndarray]:
  """Every lane by itself: thetas [L, P], objectives [L].

  Args:
    targets, weights: [R] or [L, R]: noise and case or cluster bootstraps differ here; no weights are ones.
    starts: [P] or [L, P].
    free: bool [P] or [L, P]; a coefficient that is not free keeps its start, as profiles need it.
  """
  width = len(np.asarray(targets).T)
  weights = np.ones(width) if weights is None else weights
  free = np.ones(np.shape(starts)[-1], bool) if free is None else free
  per_lane = [np.atleast_2d(np.asarray(v)) for v in (starts, free, targets, weights)]
  count = max(len(v) for v in per_lane)
  steps = _deltas(kind, delta)
  extra = -width % ROWS
  per_lane[2] = np.pad(per_lane[2], ((0, 0), (0, extra)), mode="edge")
  per_lane[3] = np.pad(per_lane[3], ((0, 0), (0, extra)))  # padded rows weigh nothing
  every = [np.broadcast_to(v, (count, v.shape[1])) for v in per_lane]
  run = _few if count <= FEW else _many
  thetas, values = np.empty((count, every[0].shape[1])), np.empty(count)
  with jax.enable_x64(True):
    fixed = tuple(jnp.asarray(_padded(c)) for c in columns), jnp.asarray(low), jnp.asarray(high)
    for begin in range(0, count, LANES):
      some = np.arange(begin, min(begin + LANES, count))
      # The last group repeats its lanes.
      theta, *others = (jnp.asarray(v[np.resize(some, LANES)]) for v in every)
      for step in steps:
        theta, value, deviation = run(model, *fixed, jnp.asarray(step), theta, *others)
      thetas[some] = np.asarray(theta)[: len(some)]
      values[some] = np.asarray(deviation if kind == "lad" else value)[: len(some)]
  return thetas, values


def linearise(
  model: Model, columns: Sequence[np.ndarray], theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The law at `theta` and its derivatives: [R] and [R, P]."""
  rows = len(columns[0])
  with jax.enable_x64(True):
    padded = tuple(jnp.asarray(_padded(c)) for c in columns)
    predicted, jacobian = _linearised(model, padded, jnp.asarray(theta, jnp.float64))
    return np.asarray(predicted)[:rows], np.asarray(jacobian)[:rows]


def _linearise(model, columns, theta):
  return model(theta, columns), jax.jacfwd(model)(theta, columns)


def _deltas(kind: str, delta: float) -> list[float]:
  """Of the Huber losses that are minimised one after the other."""
  if kind == "lad":
    return [delta / 10**k for k in range(LAD_STEPS)]
  return [np.inf if kind == "mse" else delta]


def _padded(column: np.ndarray) -> np.ndarray:
  column = np.asarray(column, np.float64)
  return np.pad(column, (0, -len(column) % ROWS), mode="edge")


def _lanes(model, columns, low, high, delta, starts, free, targets, weights):
  def lane(start, free, target, weight):
    start = jnp.clip(start, low, high)
    theta, value = _descend(model, columns, low, high, delta, start, free, target, weight)
    return theta, value, jnp.sum(weight * jnp.abs(model(theta, columns) - target))

  return jax.vmap(lane)(starts, free, targets, weights)


_many = jax.jit(_lanes, static_argnames="model")
# What costs less to run than to compile: the compiler may take it easy.
_EASY = {"xla_backend_optimization_level": 0}
_few = jax.jit(_lanes, static_argnames="model", compiler_options=_EASY)
_linearised = jax.jit(_linearise, static_argnames="model", compiler_options=_EASY)


def _descend(model, columns, low, high, delta, theta, free, target, weights):
  """Damped steps under one delta until nothing falls; (theta, objective)."""

  def objective(r):
    size = jnp.abs(r)
    return jnp.sum(weights * jnp.where(size <= delta, size**2 / 2, delta * (size - delta / 2)))

  def directions(theta, r, damping, steepest):
    """Newton and reweighted steps [2, P], what each promises to the gradient [2], the steepest diagonals so far."""
    size = jnp.abs(r)
    jacobian = jax.jacfwd(model)(theta, columns)
    pull = weights * jnp.clip(r, -delta, delta)
    bend = jax.hessian(lambda t: jnp.sum(pull * model(t, columns)))(theta)
    near, reweighted = (
      weights * (size <= delta),
      weights * jnp.minimum(1.0, delta / jnp.maximum(size, 1e-300)),
    )
    normal = jnp.stack(
      [jacobian.T @ (near[:, None] * jacobian) + bend, jacobian.T @ (reweighted[:, None] * jacobian)]
    )
    gradient = pull @ jacobian
    held = ~free | ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    gradient = jnp.where(held, 0.0, gradient)
    steepest = jnp.maximum(steepest, jnp.abs(jnp.diagonal(normal, axis1=1, axis2=2)))
    ridge = damping[:, None] * jnp.maximum(steepest, 1e-12 * steepest.max(1, keepdims=True))
    ridge = jnp.where(held[None, :], 1.0, ridge)[:, :, None] * jnp.eye(len(theta))[None]
    matrix = jnp.where((held[:, None] | held[None, :])[None], 0.0, normal) + ridge
    factor = jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
    moves = jnp.broadcast_to(-gradient[None, :, None], (2, len(theta), 1))
    for transposed in (False, True):
      moves = jax.lax.linalg.triangular_solve(
        factor, moves, left_side=True, lower=True, transpose_a=transposed
      )
    moves = moves[..., 0]
    return moves, -moves @ gradient, steepest

  def step(state):
    theta, r, value, damping, steepest, refused, _, count = state
    moves, promised, steepest = directions(theta, r, damping, steepest)
    candidates = jnp.clip(theta[None] + moves, low[None], high[None])
    new_r = jax.vmap(lambda t: model(t, columns) - target)(candidates)
    values = jax.vmap(objective)(new_r)
    still = jnp.abs(promised) <= RULES.still * value  # too little to see in the objective, but not in theta
    # False for NaN, which is refused.
    fell = (values < value) | (still & (values <= value * (1 + RULES.rounding)))
    done = (still & (damping <= RULES.undamped)).any()
    changed = jnp.where(fell, damping * RULES.bolder, jnp.maximum(damping * 10, RULES.cautious))
    lower = jnp.argmin(jnp.where(fell, values, jnp.inf))
    old_and_new = zip((candidates, new_r, values), (theta, r, value), strict=True)
    theta, r, value = (jnp.where(fell.any(), new[lower], old) for new, old in old_and_new)
    refused = jnp.where(fell.any(), 0, refused + 1)
    return theta, r, value, jnp.clip(changed, RULES.least_damping, 1e9), steepest, refused, done, count + 1

  def going(state):
    return (state[5] < RULES.patience) & ~state[6] & (state[7] < RULES.limit)

  r = model(theta, columns) - target
  damping, steepest = jnp.full(2, RULES.first_damping, theta.dtype), jnp.zeros((2, len(theta)), theta.dtype)
  begin = theta, r, objective(r), damping, steepest, 0, False, 0
  theta, _, value, *_ = jax.lax.while_loop(going, step, begin)
  return theta, value
