"""What decoders are made of: RMSNorm, attention over one axis, MLP, rotary time.

Weights are declared with logical axes and multiplied by einsum, so that sharding is a table elsewhere.
Normalisation, softmax and the residual stream are float32; matmuls run in the compute dtype.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


def weight(module: nn.Module, name: str, shape: tuple[int, ...], axes: tuple[str | None, ...], fan_in: int):
  """A float32 parameter, normal with variance 1 / fan_in, annotated with logical axes."""
  init = nn.with_logical_partitioning(nn.initializers.normal(fan_in**-0.5), axes)
  return module.param(name, init, shape, jnp.float32)


class RMSNorm(nn.Module):
  """x / rms(x) * g. B. Zhang, R. Sennrich, NeurIPS 2019, arXiv:1910.07467."""

  @nn.compact
  def __call__(self, x):
    scale = self.param(
      "scale", nn.with_logical_partitioning(nn.initializers.ones, ("norm",)), (x.shape[-1],), jnp.float32
    )
    x = x.astype(jnp.float32)
    return (
      x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale.reshape((1,) * (x.ndim - 1) + (-1,))
    )


def rotary(x_NxSxHxK: jax.Array, base: float = 100.0) -> jax.Array:
  """Rotates feature pairs by angles that grow with the position: scores depend on differences of time only.

  J. Su et al., "RoFormer", arXiv:2104.09864. The base suits windows of tens of steps.
  """
  length, half = x_NxSxHxK.shape[1], x_NxSxHxK.shape[-1] // 2
  frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = (jnp.arange(length, dtype=jnp.float32)[:, None] * frequency[None, :])[None, :, None, :]
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  a, b = jnp.split(x_NxSxHxK.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x_NxSxHxK.dtype)


class Attention(nn.Module):
  """softmax(q k^T / sqrt(K) + mask) v over the second axis of x [N, S, D]: s sees s' <= s where the mask lets it.

  `positional` turns queries and keys by their place, as time needs and agents do not.
  """

  heads: int
  head_dim: int
  dtype: jnp.dtype
  positional: bool

  @nn.compact
  def __call__(self, x_NxSxD, mask_Nx1xSxS):
    width = x_NxSxD.shape[-1]
    shape = (width, self.heads, self.head_dim)
    q, k, v = (
      jnp.einsum(
        "nsd,dhk->nshk",
        x_NxSxD.astype(self.dtype),
        weight(self, name, shape, ("embed", "heads", "head_dim"), width).astype(self.dtype),
      )
      for name in "qkv"
    )
    if self.positional:
      q, k = rotary(q), rotary(k)
    y_NxSxHxK = jax.nn.dot_product_attention(q, k, v, mask=mask_Nx1xSxS, is_causal=True)
    # Zero at first: attention adds what it learns to find, not an average over whoever is there.
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("heads", "head_dim", "embed"))
    out = self.param("o", zeros, (self.heads, self.head_dim, width), jnp.float32)
    return jnp.einsum("nshk,hkd->nsd", y_NxSxHxK, out.astype(self.dtype))


class MLP(nn.Module):
  """W2 gelu(W1 x)."""

  hidden: int
  dtype: jnp.dtype
  layers: int  # of the whole stack: branches start 1 / sqrt(2 layers) smaller, so that depth adds up to O(1)

  @nn.compact
  def __call__(self, x):
    width = x.shape[-1]
    up = weight(self, "up", (width, self.hidden), ("embed", "mlp"), width).astype(self.dtype)
    down = weight(self, "down", (self.hidden, width), ("mlp", "embed"), self.hidden * 2 * self.layers)
    return jax.nn.gelu(x.astype(self.dtype) @ up) @ down.astype(self.dtype)
