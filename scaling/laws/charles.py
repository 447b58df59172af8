"""A law of training by replicas that seldom meet: loss against size, data, replicas and local steps.

Charles et al., "Communication-Efficient Language Model Training Scales Reliably and Robustly: Scaling Laws for
DiLoCo" (arXiv:2503.09799), fit L(N, M) = A N^-alpha M^gamma to models that are each given data in proportion to their
size. Here data are an axis of their own, in the form of Hoffmann et al. (arXiv:2203.15556), and what replicas and
local steps cost is taken from the data's share of the loss:

  L(N, D, M, H) = E + A N^-alpha + B D^-beta M^gamma H^delta

N parameters, D tokens of all replicas together, M replicas, H local steps between two meetings, L nats per token.
M replicas are worth one that has seen D M^(-gamma / beta) tokens.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from scaling.fitting import projection, solver

COEFFICIENTS = 7
_LOW = np.array([-np.inf, -np.inf, 0.0, 0.01, 0.01, -1.0, -1.0])
_HIGH = np.array([np.inf, np.inf, np.inf, 4.0, 4.0, 2.0, 2.0])


@dataclasses.dataclass(frozen=True)
class Law:
  """Coefficients are floats, or arrays over draws."""

  E: Any
  A: Any
  B: Any
  alpha: Any
  beta: Any
  gamma: Any
  delta: Any

  def loss(self, params, tokens, replicas, steps):
    """L(N, D, M, H) in nats per token."""
    by_size = self.A * np.exp(-self.alpha * np.log(params))
    cost = self.gamma * np.log(replicas) + self.delta * np.log(steps)
    return self.E + by_size + self.B * np.exp(cost - self.beta * np.log(tokens))

  def worth(self, replicas):
    """The share of the data that would do as well in one replica."""
    return np.exp(-self.gamma / self.beta * np.log(replicas))


def loss(theta, columns):
  """L at theta = (ln A, ln B, E, alpha, beta, gamma, delta); columns ln N, ln D, ln M, ln H about their means."""
  a, b, floor, alpha, beta, gamma, delta = theta
  n, d, m, h = columns
  return floor + jnp.exp(a - alpha * n) + jnp.exp(b - beta * d + gamma * m + delta * h)


def fit(
  params: np.ndarray,
  tokens: np.ndarray,
  replicas: np.ndarray,
  steps: np.ndarray,
  losses: np.ndarray,
  weights: np.ndarray | None = None,
) -> tuple[Law, Law | None]:
  """(the law of R rows, the laws of W resamples): least squares in L.

  weights: [W, R], how often each row is drawn; each resample starts from the optimum of all.
  """
  logs = [np.log(np.asarray(x, float)) for x in (params, tokens, replicas, steps)]
  middle = [float(x.mean()) for x in logs]
  n, d, m, h = columns = [x - x.mean() for x in logs]

  def terms(grid):
    by_size = np.exp(-grid[:, :1] * n)
    by_data = np.exp(-grid[:, 1:2] * d + grid[:, 2:3] * m + grid[:, 3:] * h)
    return np.stack([by_size, by_data, np.ones_like(by_size)], -1)

  axes = (np.geomspace(0.05, 2.0, 10), np.geomspace(0.05, 2.0, 10), *[np.linspace(-0.2, 0.8, 6)] * 2)
  exponents, made, _ = projection.starts(terms, axes, losses, 6)
  starts = np.concatenate([np.log(np.maximum(made[:, :2], 1e-9)), made[:, 2:], exponents], -1)
  found = solver.minimise(loss, columns, losses, starts, "mse", _LOW, _HIGH)
  law = _law(found.theta, middle)
  if weights is None:
    return law, None
  thetas, _ = solver.lanes(loss, columns, losses, found.theta, "mse", _LOW, _HIGH, weights)
  return law, _law(thetas.T, middle)


def _law(theta: np.ndarray, middle: list[float]) -> Law:
  a, b, floor, alpha, beta, gamma, delta = theta
  n, d, m, h = middle
  A, B = np.exp(a + alpha * n), np.exp(b + beta * d - gamma * m - delta * h)
  return Law(floor, A, B, alpha, beta, gamma, delta)
