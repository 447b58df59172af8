"""Henighan et al., "Scaling Laws for Autoregressive Generative Modeling" (arXiv:2010.14701), eq. 1.1.

  y(C) = E + A (C / C_0)^-alpha

C training FLOPs, y a metric of which less is better (a loss, an error, a share that is missed), in its own unit; E what
no compute of this family reaches, A what is above it at C_0, the geometric mean of the fitted C. E and A are not below
zero: a metric that grows with compute is fitted as flat. Residuals are in y, as a rate may well be zero.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from scaling.fitting import projection, solver

EXPONENTS = (0.02, 2.0)  # of the grid and of the fit
GRID, STARTS = 60, 6
NOTHING = 1e-9  # of the mean of y: an A that is none


@dataclasses.dataclass(frozen=True)
class Law:
  """Coefficients, each a float or an array over draws; `middle` is ln C_0."""

  E: Any
  A: Any
  alpha: Any
  middle: float

  def value(self, flops) -> Any:
    """y(C)."""
    return self.E + self.A * np.exp(-self.alpha * (np.log(flops) - self.middle))


def value(theta, columns):
  """y over its scale at theta = (E, ln A, alpha); the column is ln C less its middle."""
  return theta[0] + jnp.exp(theta[1] - theta[2] * columns[0])


def fit(flops: np.ndarray, metric: np.ndarray) -> Law:
  """Least squares over R runs, both [R]. Given alpha the law is linear in E and A: a grid over it gives the starts."""
  x, scale = _table(flops, metric)
  grid = np.geomspace(*EXPONENTS, GRID)
  terms = np.stack([np.ones((GRID, len(x))), np.exp(-grid[:, None] * x)], -1)
  made, errors = projection.non_negative(terms, metric / scale)
  best = np.argsort(errors, kind="stable")[:STARTS]
  starts = np.stack([made[best, 0], np.log(np.maximum(made[best, 1], NOTHING)), grid[best]], -1)
  theta = solver.minimise(value, (x,), metric / scale, starts, "mse", *_bounds()).theta
  return _law(theta, scale, float(np.log(flops).mean()))


def resample(law: Law, flops: np.ndarray, metrics: np.ndarray, weights: np.ndarray) -> Law:
  """The law of every draw, from the fitted one: metrics and weights of the runs, both [draws, R]."""
  x, scale = _table(flops, metrics)
  start = np.array([law.E / scale, np.log(max(law.A / scale, NOTHING)), law.alpha])
  thetas, _ = solver.lanes(value, (x,), metrics / scale, start, "mse", *_bounds(), weights=weights)
  return _law(thetas, scale, law.middle)


def _table(flops: np.ndarray, metric: np.ndarray) -> tuple[np.ndarray, float]:
  """ln C about its middle, and the scale of the metric, 1 where it is zero throughout."""
  x = np.log(flops)
  return x - x.mean(), float(np.mean(metric)) or 1.0


def _bounds() -> tuple[np.ndarray, np.ndarray]:
  return np.array([0.0, np.log(NOTHING), EXPONENTS[0]]), np.array([np.inf, np.inf, EXPONENTS[1]])


def _law(theta: np.ndarray, scale: float, middle: float) -> Law:
  floor, log_a, alpha = np.moveaxis(theta, -1, 0)
  return Law(floor * scale, np.exp(log_a) * scale, alpha, middle)
