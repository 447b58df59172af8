"""Collapse monitors: do features still tell samples apart? As (sum, count), count being batches.

Objectives without negatives or reconstruction have a trivial solution, the same features for everything. What
shows it: the effective rank falls to 1, or the deviation of every dimension to 0, or few codes are in use.

RankMe: Q. Garrido et al., ICML 2023, arXiv:2210.02885. Per-dimension deviation: A. Bardes et al., VICReg,
arXiv:2105.04906.
"""

import jax
import jax.numpy as jnp

from objectives.metrics import Metrics


def effective_rank(x_NxD: jax.Array, weight_N: jax.Array) -> jax.Array:
  """exp(- sum_k p_k log p_k), p_k = sigma_k / sum sigma: singular values of the rows of weight 1.

  1 for rows on a line, D for rows that fill all directions evenly, 0 for no rows or only zeros.
  """
  d = x_NxD.shape[1]
  rows = x_NxD.astype(jnp.float32) * weight_N.astype(jnp.float32)[:, None]
  squares = jnp.linalg.eigvalsh(rows.T @ rows)  # D x D: small, and a sum over devices
  rounding = squares[-1] * d * jnp.finfo(jnp.float32).eps
  sigma = jnp.sqrt(jnp.where(squares > rounding, squares, 0.0))
  return _perplexity(sigma)


def deviation(x_NxD: jax.Array, weight_N: jax.Array) -> jax.Array:
  """The standard deviation of each dimension over the rows, averaged over dimensions."""
  x, w = x_NxD.astype(jnp.float32), weight_N.astype(jnp.float32)[:, None]
  count = jnp.maximum(w.sum(), 1.0)
  mean = (x * w).sum(0, keepdims=True) / count
  return jnp.sqrt(((x - mean) ** 2 * w).sum(0) / count).mean()


def code_perplexity(counts_K: jax.Array) -> jax.Array:
  """exp of the entropy of how often each code is used: K when all are used alike, 1 when one is."""
  return _perplexity(counts_K.astype(jnp.float32))


def monitors(x_NxD: jax.Array, weight_N: jax.Array) -> Metrics:
  """ "feature_rank" and "feature_std" of one batch of features. No gradient passes."""
  x_NxD, one = jax.lax.stop_gradient(x_NxD), jnp.float32(1)
  return {
    "feature_rank": (effective_rank(x_NxD, weight_N), one),
    "feature_std": (deviation(x_NxD, weight_N), one),
  }


def _perplexity(mass):
  total = mass.sum()
  share = mass / jnp.maximum(total, jnp.finfo(jnp.float32).tiny)
  entropy = -jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1.0)), 0.0).sum()
  return jnp.where(total > 0, jnp.exp(entropy), 0.0)
