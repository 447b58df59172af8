"""Gadre et al., "Language models scale reliably with over-training and on downstream tasks" (arXiv:2403.08540).

The law of Hoffmann et al. with tied exponents, alpha = beta. With M = D / N tokens per parameter, C = 6 N D and
eta = alpha / 2, so that N = (C / 6 M)^(1/2) and D = (C M / 6)^(1/2):

  L(C, M) = E + (a M^eta + b M^-eta) C^-eta,   a = A 6^eta, b = B 6^eta

At every M the reducible loss falls with the same power of compute; over-training only shifts it. As fitted in the
source, to losses L themselves by least squares:

  L = alpha_c N^b + beta_c 6^(b/2) (M N)^b + E,   b = -alpha

Downstream error over tasks follows the loss:  Err(L) = epsilon - k exp(-gamma L).
N parameters, D tokens, L nats per token.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from scaling.fitting import projection, solver


@dataclasses.dataclass(frozen=True)
class Law:
  """L = E + A / N^alpha + B / D^alpha; coefficients are floats or arrays over draws."""

  E: Any
  A: Any
  B: Any
  alpha: Any

  @classmethod
  def published(cls, alpha_c: float, beta_c: float, b: float, E: float) -> "Law":
    """From the coefficients as the source prints them."""
    return cls(E, alpha_c, beta_c * 6 ** (b / 2), -b)

  def as_published(self) -> dict[str, float]:
    """alpha_c, beta_c, b, E."""
    return {"alpha_c": self.A, "beta_c": self.B * 6 ** (self.alpha / 2), "b": -self.alpha, "E": self.E}

  def loss(self, params, tokens):
    """L(N, D) in nats per token."""
    return (
      self.E + self.A * np.exp(-self.alpha * np.log(params)) + self.B * np.exp(-self.alpha * np.log(tokens))
    )

  def loss_at(self, flops, multiplier):
    """L(C, M), M tokens per parameter."""
    eta = self.alpha / 2
    by_size, by_data = self.A * 6**eta * multiplier**eta, self.B * 6**eta * multiplier**-eta
    return self.E + (by_size + by_data) * np.exp(-eta * np.log(flops))

  @property
  def multiplier(self) -> Any:
    """M* = D* / N* of least loss, the same at every compute."""
    return (self.B / self.A) ** (1 / self.alpha)

  def optimum(self, flops: float) -> tuple[Any, Any]:
    """N*, D* under 6 N D = `flops`."""
    params = np.sqrt(flops / (6 * self.multiplier))
    return params, flops / (6 * params)


def loss(theta, columns):
  """L at theta = (ln A, ln B, E, alpha) about the middle of the columns (ln N, ln D)."""
  a, b, floor, alpha = theta
  return floor + jnp.exp(a - alpha * columns[0]) + jnp.exp(b - alpha * columns[1])


def fit(
  params: np.ndarray, tokens: np.ndarray, losses: np.ndarray, kind: str = "mse"
) -> tuple[Law, solver.Minimum]:
  """The law of R runs, residuals in L (nats): the objective is half the residual sum of squares for "mse".

  Given alpha the law is linear in A, B and E: a grid over alpha gives the starts.
  """
  n, d = np.log(params), np.log(tokens)
  middle = n.mean(), d.mean()
  n, d = n - middle[0], d - middle[1]

  def terms(exponents):
    return np.stack([np.exp(-exponents * n), np.exp(-exponents * d), np.ones((len(exponents), len(n)))], -1)

  exponents, made, _ = projection.starts(terms, (np.geomspace(0.02, 2.0, 60),), losses, 6)
  starts = np.concatenate([np.log(np.maximum(made[:, :2], 1e-9)), made[:, 2:], exponents], -1)
  low, high = np.array([-np.inf, -np.inf, 0.0, 0.01]), np.array([np.inf, np.inf, np.inf, 4.0])
  found = solver.minimise(loss, (n, d), losses, starts, kind, low, high)
  a, b, floor, alpha = (float(v) for v in found.theta)
  return Law(floor, float(np.exp(a + alpha * middle[0])), float(np.exp(b + alpha * middle[1])), alpha), found


@dataclasses.dataclass(frozen=True)
class Downstream:
  """Err(L) = epsilon - k exp(-gamma L); error rates in [0, 1], L in nats per token."""

  epsilon: float
  k: float
  gamma: float

  def error(self, loss):
    return self.epsilon - self.k * np.exp(-self.gamma * loss)


def error(theta, columns):
  """Err at theta = (epsilon, ln k, gamma); the column is L less its mean."""
  return theta[0] - jnp.exp(theta[1] - theta[2] * columns[0])


def fit_downstream(
  losses: np.ndarray, errors: np.ndarray, kind: str = "mse"
) -> tuple[Downstream, solver.Minimum]:
  """From R pairs of loss and task error; starts from a grid over gamma, linear in (epsilon, k)."""
  middle = losses.mean()
  x = losses - middle
  starts = []
  for gamma in np.geomspace(0.05, 20.0, 24):
    slope, epsilon = np.polyfit(np.exp(-gamma * x), errors, 1)
    starts.append([epsilon, np.log(max(-slope, 1e-6)), gamma])
  low, high = np.array([0.0, -np.inf, 1e-3]), np.array([np.inf, np.inf, 1e2])
  found = solver.minimise(error, (x,), errors, np.array(starts), kind, low, high)
  epsilon, log_k, gamma = (float(v) for v in found.theta)
  return Downstream(epsilon, float(np.exp(log_k + gamma * middle)), gamma), found
