"""Hoffmann et al., "Training Compute-Optimal Large Language Models" (arXiv:2203.15556): the parametric law.

  L(N, D) = E + A / N^alpha + B / D^beta

N parameters, D training tokens, L held-out loss in nats per token, C = 6 N D training FLOPs. E is the entropy of
the source, A / N^alpha what a model of finite size misses, B / D^beta what finite data hides.

Fitted by Besiroglu et al. (arXiv:2404.10102) on the log-sum-exp form, robust to runs that went wrong:

  minimise sum_i rho( log(exp(a - alpha ln N_i) + exp(b - beta ln D_i) + exp(e)) - ln L_i )

with a = ln A, b = ln B, e = ln E. The fit is `scaling/fitting/parametric.py` (Approach 3); Approach 2 is
`scaling/fitting/isoflop.py`, Approach 1 `scaling/fitting/envelope.py`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np


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

  @property
  def scale(self) -> Any:
    """G of eq. 4: N* = G (C / 6)^a, D* = (C / 6)^b / G."""
    return (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))

  def optimum(self, flops: float) -> tuple[Any, Any]:
    """N*, D* of least loss under 6 N D = `flops`, in closed form (eq. 4)."""
    return self.scale * (flops / 6) ** self.a, (flops / 6) ** self.b / self.scale

  def optimal_params(self, tokens) -> Any:
    """The N for which `tokens` is the optimal D: G (D G)^(beta / alpha)."""
    return self.scale * (tokens * self.scale) ** (self.beta / self.alpha)

  def least_loss(self, flops: float) -> Any:
    """L(N*(C), D*(C))."""
    return self.loss(*self.optimum(flops))


def log_loss(theta, columns):
  """ln L [R] at theta = (ln A, ln B, ln E, alpha, beta); columns are (ln N, ln D), or either less a constant.

  Written out, without taking the largest term out of the sum: e is then one exponential, not one for each row. Only
  absurd coefficients overflow, and the solver refuses a step to where L is not finite.
  """
  a, b, e, alpha, beta = theta
  return jnp.log(jnp.exp(a - alpha * columns[0]) + jnp.exp(b - beta * columns[1]) + jnp.exp(e))


def log_losses(theta: np.ndarray, columns) -> np.ndarray:
  """`log_loss` in NumPy, of theta [L, 5] at once: [L, R]."""
  return np.log(_terms(theta, columns).sum(0))


def derivatives(theta: np.ndarray, columns):
  """Of `log_losses`, in closed form: Jacobian [L, R, 5], and pull [L, R] -> sum_r pull_r Hessian_r, [L, 5, 5].

  With s_k the share of term k in L, and u_k its exponent, linear in theta:  d ln L = sum_k s_k du_k  and
  d2 ln L = sum_k s_k du_k du_k - (d ln L)(d ln L).
  """
  terms = _terms(theta, columns)
  shares = terms / terms.sum(0)
  inner = np.stack(
    [np.broadcast_to(v, shares[0].shape) for v in (1.0, 1.0, 1.0, -columns[0], -columns[1])], -1
  )
  jacobian = np.stack([shares[k] for k in _TERM], -1) * inner
  turned = np.swapaxes(jacobian, 1, 2)

  def bend(pull):
    pulled = turned * pull[:, None]
    return (pulled @ inner) * _SAME_TERM - pulled @ jacobian

  return jacobian, bend


_TERM = (0, 1, 2, 0, 1)  # which term of L each coefficient of theta stands in
_SAME_TERM = np.equal.outer(_TERM, _TERM)


def _terms(theta: np.ndarray, columns) -> np.ndarray:
  """[3, L, R]: A / N^alpha, B / D^beta, E."""
  a, b, e, alpha, beta = theta.T[:, :, None]
  by_size, by_data = np.exp(a - alpha * columns[0]), np.exp(b - beta * columns[1])
  return np.stack([by_size, by_data, np.broadcast_to(np.exp(e), by_size.shape)])


def log_loss_by_allocation(theta, columns):
  """The same in (ln A, ln B, ln E, alpha + beta, a), so that a = beta / (alpha + beta) can be held for its profile."""
  total, a = theta[3], theta[4]
  return log_loss(jnp.stack([*theta[:3], total * (1 - a), total * a]), columns)
