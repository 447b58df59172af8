"""Bottleneck adapters: a small MLP after each branch of a block, the only part that learns.

  y' = y + W_up gelu(W_down y),   W_up zero at first, so that nothing changes

N. Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751. A block that has a place for
them names them `..._adapter`. Prefix tuning (X. Li, P. Liang, arXiv:2101.00190) has its place in
models/layers.py: `Attention` with a `prefix` of learned keys and values that everybody sees.
"""

import flax.linen as nn
import jax.numpy as jnp

from models.layers import gelu, weight

ADAPTERS = r"_adapter/"
PREFIX = r"/prefix_(key|value)_tokens$"


class Bottleneck(nn.Module):
  """y [..., D] -> [..., D] through `hidden` units, added to y."""

  hidden: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, y):
    width = y.shape[-1]
    down = weight(self, "down", (width, self.hidden), ("embed", None), width)
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, (None, "embed"))
    up = self.param("up", zeros, (self.hidden, width), jnp.float32)
    return y + gelu(y.astype(self.dtype) @ down.astype(self.dtype)) @ up.astype(self.dtype)
