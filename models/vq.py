"""Vector quantisation: a code is the nearest row of a codebook that follows its vectors by moving averages.

  i = argmin_k |x - e_k|^2,   q = e_i,   dq/dx = 1 (straight-through)

  S_k <- decay S_k + (1 - decay) sum_{i=k} x,   N_k <- decay N_k + (1 - decay) count_k,
  e_k = S_k / N'_k,   N'_k = N (N_k + EPSILON) / (N + K EPSILON),   N = sum N_k   (Laplace smoothing)

The codebook has no gradient: it moves by `follow` from the statistics (sums_KxD, counts_K) of a batch, which add up
over devices and micro-batches. A code that falls out of use is put onto a vector of the batch (`revive`).

A. van den Oord et al., "Neural Discrete Representation Learning", arXiv:1711.00937, appendix A.1.
`models/fsq.py` has the same `encode` and `decode` without a codebook to learn.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-5  # of Laplace's smoothing of counts, as in Sonnet's VectorQuantizerEMA
_TOGETHER = 2**24  # pairs of a vector and a code that are looked at together: 64 MiB of distances


def straight_through(x, quantised):
  """`quantised` in value, x in gradient."""
  return x + jax.lax.stop_gradient(quantised - x)


def nearest(x_NxD, codes_KxD):
  """Indices int32 [N] of the nearest codes; a tie goes to the lower index."""
  count, (n, d) = len(codes_KxD), x_NxD.shape
  together = _codes_together(n, count)
  blocks = -(-count // together)
  padded = jnp.pad(codes_KxD, ((0, blocks * together - count), (0, 0))).reshape(blocks, together, d)

  def closest(first, codes_JxD):
    distance = (codes_JxD**2).sum(-1)[None] - 2 * jnp.einsum("nd,kd->nk", x_NxD, codes_JxD)
    distance = jnp.where((first + jnp.arange(together))[None] < count, distance, jnp.inf)
    return distance.min(-1), first + jnp.argmin(distance, axis=-1).astype(jnp.int32)

  def closer(best, block):
    least, index = closest(*block)
    return (jnp.minimum(best[0], least), jnp.where(least < best[0], index, best[1])), None

  starts = together * jnp.arange(blocks, dtype=jnp.int32)
  (_, index_N), _ = jax.lax.scan(closer, closest(starts[0], padded[0]), (starts[1:], padded[1:]))
  return index_N


def sums(x_NxD, index_N, weight_N, codes: int):
  """[K, D]: the sum of the vectors that chose each code, float32; `weight_N` 0 leaves a vector out."""
  together = _codes_together(len(x_NxD), codes)

  def block(first):
    chosen = jax.nn.one_hot(index_N - first, together, dtype=jnp.float32) * weight_N[:, None]
    return jnp.einsum("nk,nd->kd", chosen, x_NxD.astype(jnp.float32))

  sums_CxJxD = jax.lax.map(block, jnp.arange(0, codes, together))
  return sums_CxJxD.reshape(-1, x_NxD.shape[1])[:codes]


def uses(index_N, weight_N, codes: int):
  """[K]: how many vectors chose each code, float32; the other half of a batch's statistics."""
  return jnp.zeros(codes, jnp.float32).at[index_N].add(weight_N)


def _codes_together(vectors: int, codes: int) -> int:
  """Codes of a block. Codes are cut and not vectors, which may lie on many devices."""
  return min(codes, max(1, _TOGETHER // vectors))


def follow(codebook: Mapping[str, jax.Array], sums_KxD, counts_K, decay: float) -> dict[str, jax.Array]:
  """The codebook {"codes", "sums", "counts"} after one batch; what a batch did not choose keeps its place."""
  sums = decay * codebook["sums"] + (1 - decay) * sums_KxD
  counts = decay * codebook["counts"] + (1 - decay) * counts_K
  total = counts.sum()
  smoothed = total * (counts + EPSILON) / (total + len(counts) * EPSILON)
  # Smoothing moves what is rarely used towards 0: a code without any count stays where it is.
  codes = jnp.where((counts > EPSILON)[:, None], sums / smoothed[:, None], codebook["codes"])
  return {"codes": codes, "sums": sums, "counts": counts}


def revive(codebook: Mapping[str, jax.Array], candidates_KxD, least: float) -> dict[str, jax.Array]:
  """Puts codes used less than `least` times per batch, on average, onto the candidates, with a count of 1."""
  dead = codebook["counts"] < least
  codes = jnp.where(dead[:, None], candidates_KxD, codebook["codes"])
  sums = jnp.where(dead[:, None], candidates_KxD, codebook["sums"])
  return {"codes": codes, "sums": sums, "counts": jnp.where(dead, 1.0, codebook["counts"])}


def candidates(x_NxD, codes: int, key):
  """Vectors [K, D] of the batch, drawn with replacement: where dead codes may come back to life."""
  return x_NxD[jax.random.randint(key, (codes,), 0, len(x_NxD))].astype(jnp.float32)


class VQ(nn.Module):
  """encode(x [..., D]) -> (indices [...], quantised [..., D]); decode(indices) -> codes [..., D].

  Attributes: codes: K, the vocabulary. dim: D of a code.
  """

  codes: int
  dim: int

  def setup(self):
    part = nn.with_logical_partitioning
    init = nn.initializers.normal(1.0)
    self.table = self.param("codes", part(init, (None, "table")), (self.codes, self.dim), jnp.float32)
    # Not read here: `follow` moves them. They start as one use of every code.
    self.param("sums", part(lambda *_: self.table, (None, "table")), (self.codes, self.dim), jnp.float32)
    self.param("counts", part(nn.initializers.ones, (None,)), (self.codes,), jnp.float32)

  @property
  def vocabulary(self) -> int:
    return self.codes

  def encode(self, x):
    codes = jax.lax.stop_gradient(self.table)
    flat = x.reshape(-1, self.dim).astype(jnp.float32)
    index = nearest(jax.lax.stop_gradient(flat), codes).reshape(x.shape[:-1])
    return index, straight_through(x.astype(jnp.float32), codes[index])

  def decode(self, index):
    return self.table[index]
