"""Variable projection: starts for a law that is linear in its coefficients once its exponents are known.

L_i = sum_m c_m phi_m(x_i; exponents), c_m >= 0: every cell of a grid over the exponents is solved for c in closed
form (Golub and Pereyra, 1973), residuals relative to L, which to first order are those of ln L. The cells of least
error, not next to one another, become starts: no one chooses them, and the fit that follows depends on none.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

RIDGE = 1e-13  # of the normal equations with unit diagonal: two columns nearly alike leave small coefficients


def starts(
  terms: Callable[[np.ndarray], np.ndarray],
  axes: Sequence[np.ndarray],
  loss: np.ndarray,
  count: int,
  apart: int = 2,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The best cells of the grid over `axes`.

  Args:
    terms: exponents [G, K] -> phi [G, R, M], positive.
    loss: [R].
    count: how many cells.
    apart: least distance in cells, along some axis, between two of them.

  Returns:
    exponents [count, K], coefficients [count, M] >= 0, relative squared errors [count]; best first.
  """
  cells = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], -1)
  where = np.stack([g.ravel() for g in np.meshgrid(*(np.arange(len(x)) for x in axes), indexing="ij")], -1)
  coefficients, errors = non_negative(terms(cells) / loss[:, None], np.ones(len(loss)))
  chosen: list[int] = []
  for cell in np.argsort(errors, kind="stable"):
    if all(np.abs(where[cell] - where[other]).max() >= apart for other in chosen):
      chosen.append(int(cell))
    if len(chosen) == count:
      break
  return cells[chosen], coefficients[chosen], errors[chosen]


def non_negative(design: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Least squares with coefficients >= 0, [G, R, M] and [R] -> ([G, M], squared errors [G]).

  Every subset of the M columns is solved; the best one without a negative coefficient is the answer.
  """
  groups, _, count = design.shape
  norms = np.maximum(np.linalg.norm(design, axis=1), 1e-300)
  unit = design / norms[:, None]
  gram, right = np.swapaxes(unit, 1, 2) @ unit, np.swapaxes(unit, 1, 2) @ target
  best, error = np.zeros((groups, count)), np.full(groups, np.sum(target**2))
  for size in range(1, count + 1):
    for used in itertools.combinations(range(count), size):
      part = gram[:, used][:, :, used] + RIDGE * np.eye(size)
      solved = np.zeros_like(best)
      solved[:, used] = np.linalg.solve(part, right[:, used, None])[..., 0]
      squares = np.square((unit @ solved[..., None])[..., 0] - target).sum(-1)
      better = (solved >= 0).all(-1) & (squares < error)
      best[better], error[better] = solved[better], squares[better]
  return best / norms, error
