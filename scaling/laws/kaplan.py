"""Kaplan et al., "Scaling Laws for Neural Language Models" (arXiv:2001.08361), eq. 1.5.

  L(N, D) = [ (N_c / N)^(alpha_N / alpha_D) + D_c / D ]^alpha_D

N parameters WITHOUT embeddings, D tokens, L nats per token. There is no irreducible loss: L falls to zero. With
unlimited data L = (N_c / N)^alpha_N, with an unlimited model L = (D_c / D)^alpha_D.

Under C = 6 N D the least loss lies where d/dN [(N_c / N)^p + 6 D_c N / C] = 0, p = alpha_N / alpha_D:

  N* = (p N_c^p C / (6 D_c))^(1 / (1 + p)),   so N* ~ C^(1 / (1 + p))

Pearce and Song, "Reconciling Kaplan and Chinchilla Scaling Laws" (arXiv:2406.12907): embeddings counted,
N_total = N + omega N^(1/3), which bends the same runs from one exponent towards the other.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from scaling.fitting import projection, solver

EMBEDDINGS = 47_491.0  # omega of Pearce and Song


@dataclasses.dataclass(frozen=True)
class Law:
  """`alpha_n`, `alpha_d`; `n_c` in non-embedding parameters, `d_c` in tokens."""

  alpha_n: float
  alpha_d: float
  n_c: float
  d_c: float

  def loss(self, params, tokens):
    """L(N, D) in nats per token."""
    by_size = np.exp(self.ratio * (np.log(self.n_c) - np.log(params)))
    return (by_size + self.d_c / tokens) ** self.alpha_d

  @property
  def ratio(self) -> float:
    """p = alpha_N / alpha_D."""
    return self.alpha_n / self.alpha_d

  @property
  def a(self) -> float:
    """Exponent of N*(C)."""
    return 1 / (1 + self.ratio)

  def optimum(self, flops: float) -> tuple[float, float]:
    """N*, D* of least loss under 6 N D = `flops`."""
    p = self.ratio
    params = (p * self.n_c**p * flops / (6 * self.d_c)) ** (1 / (1 + p))
    return params, flops / (6 * params)


PUBLISHED = Law(alpha_n=0.076, alpha_d=0.103, n_c=6.4e13, d_c=1.8e13)


def total_params(params):
  """Parameters with embeddings, from those without (Pearce and Song)."""
  return params + EMBEDDINGS * np.cbrt(params)


def log_loss(theta, columns):
  """ln L at theta = (p ln N_c, ln D_c, p, alpha_D); columns (ln N, ln D)."""
  by_size, by_data, p, alpha_d = theta
  return alpha_d * jnp.logaddexp(by_size - p * columns[0], by_data - columns[1])


def fit(params: np.ndarray, tokens: np.ndarray, loss: np.ndarray, kind: str) -> tuple[Law, solver.Minimum]:
  """The law of R runs; `kind` as in `solver.KINDS`, of ln L.

  L^(1 / alpha_D) is linear in N_c^p and D_c: a grid over (p, alpha_D) gives the starts.
  """
  n, d, y = np.log(params), np.log(tokens), np.log(loss)
  middle = n.mean(), d.mean()
  n, d = n - middle[0], d - middle[1]
  starts = []
  for alpha_d in np.geomspace(0.02, 1.0, 12):

    def terms(exponents):
      return np.stack([np.exp(-exponents * n), np.broadcast_to(np.exp(-d), (len(exponents), len(d)))], -1)

    power = np.exp(y / alpha_d - np.max(y / alpha_d))
    ratio, made, _ = projection.starts(terms, (np.geomspace(0.1, 5.0, 24),), power, 1)
    logs = np.log(np.maximum(made[0], 1e-6)) + np.max(y / alpha_d)
    starts.append([*logs, ratio[0, 0], alpha_d])
  low, high = np.array([-np.inf, -np.inf, 0.01, 0.005]), np.array([np.inf, np.inf, 20.0, 4.0])
  found = solver.minimise(log_loss, (n, d), y, np.array(starts), kind, low, high)
  by_size, by_data, p, alpha_d = found.theta
  n_c, d_c = np.exp(by_size / p + middle[0]), np.exp(by_data + middle[1])
  return Law(float(p * alpha_d), float(alpha_d), float(n_c), float(d_c)), found
