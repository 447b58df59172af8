"""Queries that read a model's tokens: how heads and denoisers, whatever their shape, look at any set of sensors."""

import flax.linen as nn
import jax.numpy as jnp

from models.layers import MLP, RMSNorm, dot_product_attention, weight
from models.reading_config import ReadConfig


class CrossAttention(nn.Module):
  """softmax(q k^T / sqrt(K) + mask - d^2 / 2 r^2) v for queries of y [N, Q, D], keys and values of x [N, S, E].

  d^2 is apart_NxQxS, if given: squared distances of queries and tokens, in patches. Each head has a reach r that is
  learned; at first 1, 2, 4, ... patches, so that some heads look close by. P. Gao et al., "Fast Convergence of DETR
  with Spatially Modulated Co-Attention", arXiv:2101.07448.
  """

  config: ReadConfig

  @nn.compact
  def __call__(self, y_NxQxD, x_NxSxE, valid_NxS, apart_NxQxS=None):
    c, dtype = self.config, jnp.dtype(self.config.dtype)

    def project(name, x, width):
      axes = ("embed", "heads", "head_dim")
      w = weight(self, name, (width, c.heads, c.head_dim), axes, width).astype(dtype)
      return jnp.einsum("nsd,dhk->nshk", x.astype(dtype), w)

    q = project("q", y_NxQxD, c.width)
    k, v = (project(name, x_NxSxE, c.context) for name in "kv")
    # Where no sensor gives anything, all tokens are read alike: a softmax over nobody would be NaN.
    seen = valid_NxS | ~valid_NxS.any(1, keepdims=True)
    bias = None
    if apart_NxQxS is not None:
      octaves = nn.with_logical_partitioning(lambda *_: jnp.arange(c.heads, dtype=jnp.float32), ("heads",))
      octave_H = self.param("reach_scale", octaves)
      bias = -apart_NxQxS[:, None] * 0.5 * 4.0 ** -octave_H[None, :, None, None]
    y = dot_product_attention(q, k, v, seen[:, None, None], bias)
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("heads", "head_dim", "embed"))
    out = self.param("o", zeros, (c.heads, c.head_dim, c.width), jnp.float32)
    return jnp.einsum("nshk,hkd->nsd", y, out.astype(dtype)).astype(jnp.float32)


class Read(nn.Module):
  """y [N, Q, D] after reading x [N, S, E], and an MLP: both pre-normalised and residual; then normalised."""

  config: ReadConfig

  @nn.compact
  def __call__(self, y_NxQxD, x_NxSxE, valid_NxS, apart_NxQxS=None):
    c = self.config
    attention = CrossAttention(c, name="attention")
    y = y_NxQxD + attention(RMSNorm(name="query_norm")(y_NxQxD), x_NxSxE, valid_NxS, apart_NxQxS)
    mlp = MLP(4 * c.width, jnp.dtype(c.dtype), 1, name="mlp")
    return RMSNorm(name="norm")(y + mlp(RMSNorm(name="mlp_norm")(y)).astype(jnp.float32))


def linear(module: nn.Module, name: str, x, outputs: int, deviation: float, bias_deviation: float):
  """W x + b in float32, W and b normal of these deviations. 1 / inputs: answers begin flat at any width.

  A name ends in "stem" where the inputs are the data's: there are a few, which no mesh axis is asked to divide.
  """
  inputs = "features" if name.endswith("stem") else "embed"
  init = nn.with_logical_partitioning(nn.initializers.normal(deviation), (inputs, "act_embed"))
  kernel = module.param(name, init, (x.shape[-1], outputs), jnp.float32)
  init = nn.with_logical_partitioning(nn.initializers.normal(bias_deviation), ("norm",))
  bias = module.param(f"{name}_bias", init, (outputs,), jnp.float32)
  return x.astype(jnp.float32) @ kernel + bias.reshape((1,) * (x.ndim - 1) + (-1,))
