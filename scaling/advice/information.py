"""What a table would settle before any of its runs is made: the expected covariance of the fitted law.

For runs at (N_i, D_i) whose ln L scatters by `sd` about the law, least squares of ln L has, to first order,

  covariance(theta) = sd^2 (J^T J)^-1,   J = d ln L / d theta,   theta = (ln A, ln B, ln E, alpha, beta)

(A. C. Atkinson, A. N. Donev and R. D. Tobias, "Optimum Experimental Designs, with SAS", 2007, ch. 17: designs for
models that are not linear are optimal at a prior guess of theta). ln A and ln B are read at the `middle` of ln N and
ln D, which keeps the columns apart and changes neither the other coefficients nor any prediction.
"""

import dataclasses

import numpy as np

from scaling.fitting import identifiability, solver
from scaling.laws import hoffmann
from scaling.laws.hoffmann import Law

SINGULAR = 1e-14  # least eigenvalue over largest, with unit diagonal: nothing is settled


def jacobian(law: Law, params: np.ndarray, tokens: np.ndarray, middle: tuple[float, float]) -> np.ndarray:
  """d ln L / d theta, [R, 5], of one law."""
  theta = np.array([
    np.log(law.A) - law.alpha * middle[0], np.log(law.B) - law.beta * middle[1], np.log(law.E), law.alpha, law.beta
  ])  # fmt: skip
  columns = np.log(params) - middle[0], np.log(tokens) - middle[1]
  return solver.linearise(hoffmann.log_loss, columns, theta)[1]


def inverses(information: np.ndarray) -> np.ndarray:
  """(J^T J)^-1 of each [K, 5, 5]; NaN where it is singular."""
  scale = 1 / np.sqrt(np.maximum(np.einsum("kii->ki", information), 1e-300))
  unit = information * scale[:, :, None] * scale[:, None, :]
  values = np.linalg.eigvalsh(unit)
  settled = values[:, 0] > SINGULAR * values[:, -1]
  made = np.full(unit.shape, np.nan)
  made[settled] = np.linalg.inv(unit[settled])
  return made * scale[:, :, None] * scale[:, None, :]


@dataclasses.dataclass(frozen=True)
class Expected:
  """Attributes: `errors`, standard errors of E, alpha, beta, a and b; `loss_errors`, of ln L at each point asked for,
  [P]; `condition` of the Hessian with unit diagonal. Infinite where nothing is settled."""

  errors: dict[str, float]
  loss_errors: np.ndarray
  condition: float


def expect(
  law: Law, params: np.ndarray, tokens: np.ndarray, sd: float, at: tuple[np.ndarray, np.ndarray]
) -> Expected:
  """The standard errors of a fit to R runs at `params`, `tokens`; `at` (N [P], D [P]) asks for predictions."""
  middle = float(np.log(params).mean()), float(np.log(tokens).mean())
  rows = jacobian(law, params, tokens, middle)
  covariance = sd**2 * np.nan_to_num(inverses((rows.T @ rows)[None])[0], nan=np.inf)
  total = law.alpha + law.beta
  gradients = {
    "E": [0, 0, law.E, 0, 0],
    "alpha": [0, 0, 0, 1, 0],
    "beta": [0, 0, 0, 0, 1],
    "a": [0, 0, 0, -law.beta / total**2, law.alpha / total**2],
    "b": [0, 0, 0, law.beta / total**2, -law.alpha / total**2],
  }
  asked = jacobian(law, *at, middle)
  return Expected(
    {name: float(_errors(covariance, np.array([g]))[0]) for name, g in gradients.items()},
    _errors(covariance, asked),
    identifiability.condition(rows),
  )


def _errors(covariance: np.ndarray, gradients: np.ndarray) -> np.ndarray:
  if not np.isfinite(covariance).all():
    return np.full(len(gradients), np.inf)
  return np.sqrt(np.einsum("pi,ij,pj->p", gradients, covariance, gradients))
