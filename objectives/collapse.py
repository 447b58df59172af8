"""Collapse monitors: do features still tell samples apart? As (sum, count), count being batches.

Objectives without negatives or reconstruction have a trivial solution, the same features for everything. What
shows it: the effective rank falls to 1, or the deviation of every dimension to 0, or few codes are in use.

A rank takes an eigendecomposition, which accelerators are slow at. So losses report the matrix that it is read off,
which adds up over devices and micro-batches, and only whoever looks decomposes it: `read`.

RankMe: Q. Garrido et al., ICML 2023, arXiv:2210.02885. Per-dimension deviation: A. Bardes et al., VICReg,
arXiv:2105.04906.
"""

import jax
import jax.numpy as jnp

from objectives.metrics import Metrics

GRAM = "feature_gram"  # (sum over rows of x x^T [D, D], batches)


def gram(x_NxD: jax.Array, weight_N: jax.Array) -> jax.Array:
  """[D, D]: sum of x x^T over the rows of weight 1."""
  rows = x_NxD.astype(jnp.float32) * weight_N.astype(jnp.float32)[:, None]
  return rows.T @ rows


def effective_rank(gram_DxD: jax.Array) -> jax.Array:
  """exp(- sum_k p_k log p_k), p_k = sigma_k / sum sigma: singular values of the rows whose `gram` it is.

  1 for rows on a line, D for rows that fill all directions evenly, 0 for no rows or only zeros. At any scale alike.
  """
  d = len(gram_DxD)
  squares = jnp.linalg.eigvalsh(gram_DxD)
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
  """GRAM and "feature_std" of one batch of features. No gradient passes."""
  x_NxD, one = jax.lax.stop_gradient(x_NxD), jnp.float32(1)
  return {
    GRAM: (gram(x_NxD, weight_N), one),
    "feature_std": (deviation(x_NxD, weight_N), one),
  }


def read(metrics: Metrics) -> Metrics:
  """The metrics of a loss with "feature_rank" in place of GRAM, where there is one."""
  if GRAM not in metrics:
    return metrics
  gram_DxD, count = metrics[GRAM]
  others = {name: value for name, value in metrics.items() if name != GRAM}
  return others | {"feature_rank": (effective_rank(gram_DxD), count)}


def _perplexity(mass):
  total = mass.sum()
  share = mass / jnp.maximum(total, jnp.finfo(jnp.float32).tiny)
  entropy = -jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1.0)), 0.0).sum()
  return jnp.where(total > 0, jnp.exp(entropy), 0.0)
