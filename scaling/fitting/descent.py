"""The descent of `solver.py` in NumPy, for a model that brings its derivatives: nothing to compile.

A point fit polishes a handful of starts on one table. That takes milliseconds, and compiling it for JAX would take
a hundred times as long. Step, damping and rest are those of `solver._descend`, for all lanes together; the tests hold
the two to one outcome.
"""

from collections.abc import Callable, Sequence

import numpy as np

# (theta [L, P], columns of [R] each) -> predictions [L, R].
Predict = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]
# The same -> (Jacobian [L, R, P], and a function of pull [L, R]: sum_r pull_r Hessian of prediction r, [L, P, P]).
Derive = Callable[[np.ndarray, Sequence[np.ndarray]], tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]


def lanes(
  predict: Predict,
  derive: Derive,
  columns: Sequence[np.ndarray],
  target: np.ndarray,
  starts: np.ndarray,
  delta: float,
  low: np.ndarray,
  high: np.ndarray,
  rules,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lowest points under Huber losses of `delta` (infinite: squares), all runs of weight one.

  Args: those of `solver.lanes`, starts [L, P]; rules: a `solver.Rules`.

  Returns thetas [L, P], the sum of losses [L], the sum of |r| [L].
  """
  theta = np.clip(starts, low, high).astype(np.float64)
  r = predict(theta, columns) - target
  value = _objective(r, delta)
  damping, steepest = np.full((len(theta), 2), rules.first_damping), np.zeros((len(theta), 2, theta.shape[1]))
  refused, going, lane = np.zeros(len(theta), int), np.ones(len(theta), bool), np.arange(len(theta))
  for _ in range(rules.limit):
    if not going.any():
      break
    moves, promised, steepest = _directions(derive, columns, theta, r, delta, damping, steepest, low, high)
    candidates = np.clip(theta[:, None] + moves, low, high)
    with np.errstate(over="ignore", invalid="ignore"):  # a step too far is refused
      new_r = np.stack([predict(candidates[:, k], columns) - target for k in (0, 1)], 1)
      values = _objective(new_r, delta)
    still = np.abs(promised) <= rules.still * value[:, None]
    fell = (values < value[:, None]) | (still & (values <= value[:, None] * (1 + rules.rounding)))
    fell &= going[:, None]
    done = (still & (damping <= rules.undamped)).any(1)
    changed = np.where(fell, damping * rules.bolder, np.maximum(damping * 10, rules.cautious))
    damping = np.clip(changed, rules.least_damping, 1e9)
    lower, moved = np.where(fell, values, np.inf).argmin(1), fell.any(1)
    theta = np.where(moved[:, None], candidates[lane, lower], theta)
    r = np.where(moved[:, None], new_r[lane, lower], r)
    value = np.where(moved, values[lane, lower], value)
    refused = np.where(moved, 0, refused + 1)
    going &= ~done & (refused < rules.patience)
  return theta, value, np.abs(r).sum(-1)


def _objective(r: np.ndarray, delta: float) -> np.ndarray:
  size = np.abs(r)
  if np.isinf(delta):
    return np.square(size).sum(-1) / 2
  return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)).sum(-1)


def _directions(derive, columns, theta, r, delta, damping, steepest, low, high):
  """Newton and reweighted steps [L, 2, P], what each promises [L, 2], the steepest diagonals so far [L, 2, P]."""
  size, pull = np.abs(r), np.clip(r, -delta, delta)
  jacobian, bend = derive(theta, columns)
  turned = np.swapaxes(jacobian, 1, 2)
  reweighted = np.minimum(1.0, delta / np.maximum(size, 1e-300))
  normal = np.stack([turned * (size <= delta)[:, None], turned * reweighted[:, None]], 1) @ jacobian[:, None]
  normal[:, 0] += bend(pull)
  gradient = (pull[:, None] @ jacobian)[:, 0]
  held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
  gradient = np.where(held, 0.0, gradient)
  steepest = np.maximum(steepest, np.abs(np.diagonal(normal, axis1=2, axis2=3)))
  ridge = damping[..., None] * np.maximum(steepest, 1e-12 * steepest.max(-1, keepdims=True))
  ridge = np.where(held[:, None], 1.0, ridge)
  matrix = np.where((held[:, :, None] | held[:, None, :])[:, None], 0.0, normal)
  matrix = matrix + ridge[..., None] * np.eye(theta.shape[1])
  try:
    moves = np.linalg.solve(matrix, np.broadcast_to(-gradient[:, None, :, None], (*ridge.shape, 1)))[..., 0]
  except np.linalg.LinAlgError:  # one lane without any curvature: all take the shortest steps
    moves = -(np.linalg.pinv(matrix) @ gradient[:, None, :, None])[..., 0]
  return moves, -(moves * gradient[:, None]).sum(-1), steepest
