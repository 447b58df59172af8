"""What trunks are made of: RMSNorm, attention over one axis, MLP, rotary time, a stack of equal units.

Weights are declared with logical axes and multiplied by einsum, so that sharding is a table elsewhere.
Normalisation, softmax and the residual stream are float32; matmuls run in the compute dtype.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

ROTARY_BASE = 100.0  # windows have tens of steps: the slowest angles turn by less than half a circle in them
NORM_EPSILON = 1e-6  # keeps a vector of zeros at zero
NEVER = -1e9  # a logit of probability 0, which -inf would be without a gradient


def weight(module: nn.Module, name: str, shape: tuple[int, ...], axes: tuple[str | None, ...], fan_in: int):
  """A float32 parameter, normal with variance 1 / fan_in, annotated with logical axes."""
  init = nn.with_logical_partitioning(nn.initializers.normal(fan_in**-0.5), axes)
  return module.param(name, init, shape, jnp.float32)


# Calls of their own, so that export finds them by their names and keeps them whole (export/canonical.py).
@jax.jit
def gelu(x: jax.Array) -> jax.Array:
  """x Phi(x), Phi by tanh. D. Hendrycks, K. Gimpel, arXiv:1606.08415."""
  return jax.nn.gelu(x)


@jax.jit
def rms_norm(x: jax.Array, scale_D: jax.Array) -> jax.Array:
  """x / rms(x) * scale over the last axis, float32. B. Zhang, R. Sennrich, NeurIPS 2019, arXiv:1910.07467."""
  x = x.astype(jnp.float32)
  scale = scale_D.reshape((1,) * (x.ndim - 1) + (-1,))
  return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + NORM_EPSILON) * scale


class RMSNorm(nn.Module):
  """rms_norm with a scale that is learned."""

  @nn.compact
  def __call__(self, x):
    scale = self.param(
      "scale", nn.with_logical_partitioning(nn.initializers.ones, ("norm",)), (x.shape[-1],), jnp.float32
    )
    return rms_norm(x, scale)


def rotary(x_NxSxHxK: jax.Array, time_S: jax.Array | None = None) -> jax.Array:
  """Rotates feature pairs by angles that grow with time: scores depend on differences of time only.

  time_S: the step of each place; None: places are steps.
  J. Su et al., "RoFormer", arXiv:2104.09864.
  """
  length, half = x_NxSxHxK.shape[1], x_NxSxHxK.shape[-1] // 2
  frequency = ROTARY_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
  time_S = jnp.arange(length) if time_S is None else time_S
  angle = (time_S.astype(jnp.float32)[:, None] * frequency[None, :])[None, :, None, :]
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  a, b = jnp.split(x_NxSxHxK.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x_NxSxHxK.dtype)


class Attention(nn.Module):
  """softmax(q k^T / sqrt(K) + mask) v over the second axis of x [N, S, D]: s sees s' where the mask lets it.

  `positional` turns queries and keys by their time (time_S, or their place), as time needs and agents do not.
  `causal` hides s' > s, whatever the mask says. With a mutable collection "cache", keys and values are kept in it:
  the first call fills it, later ones put theirs in their place (time_S) and attend to all that it holds; the mask,
  then [N, 1, S, places], hides what is later. `prefix` learned keys and values come before all and are seen by
  all (X. Li, P. Liang, arXiv:2101.00190): the values are zero at first, so that they only draw attention away.
  """

  heads: int
  head_dim: int
  dtype: jnp.dtype
  positional: bool
  causal: bool
  prefix: int

  @nn.compact
  def __call__(self, x_NxSxD, mask_Nx1xSxS, time_S=None):
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
      q, k = rotary(q, time_S), rotary(k, time_S)
    causal = self.causal
    if self.positional and self.is_mutable_collection("cache") and not self.is_initializing():
      k, v = (self._kept(name, row, time_S) for name, row in (("key", k), ("value", v)))
      causal &= q.shape == k.shape
    if self.prefix:
      y_NxSxHxK = self._prefixed(q, k, v, mask_Nx1xSxS, causal)
    else:
      y_NxSxHxK = jax.nn.dot_product_attention(q, k, v, mask=mask_Nx1xSxS, is_causal=causal)
    # Zero at first: attention adds what it learns to find, not an average over whoever is there.
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("heads", "head_dim", "embed"))
    out = self.param("o", zeros, (self.heads, self.head_dim, width), jnp.float32)
    return jnp.einsum("nshk,hkd->nsd", y_NxSxHxK, out.astype(self.dtype))

  def _kept(self, name: str, row_NxSxHxK: jax.Array, time_S: jax.Array | None) -> jax.Array:
    """All that the cache holds under `name`, with the rows of these steps in their place."""
    kept = self.variable("cache", name, lambda: row_NxSxHxK)
    first = 0 if time_S is None else time_S[0]
    kept.value = jax.lax.dynamic_update_slice_in_dim(kept.value, row_NxSxHxK, first, axis=1)
    return kept.value

  def _prefixed(self, q, k, v, mask, causal):
    n, s = k.shape[:2]
    shape, axes = (self.prefix, self.heads, self.head_dim), (None, "heads", "head_dim")
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, axes)
    rows = (
      weight(self, "prefix_key_tokens", shape, axes, 1),
      self.param("prefix_value_tokens", zeros, shape, jnp.float32),
    )
    k, v = (
      jnp.concatenate([jnp.broadcast_to(row[None].astype(x.dtype), (n, *shape)), x], axis=1)
      for row, x in zip(rows, (k, v), strict=True)
    )
    if causal:
      mask = mask & jnp.tril(jnp.ones((s, s), bool))[None, None]
    mask = jnp.broadcast_to(mask, (mask.shape[0], 1, q.shape[1], s))
    mask = jnp.pad(mask, ((0, 0), (0, 0), (0, 0), (self.prefix, 0)), constant_values=True)
    return jax.nn.dot_product_attention(q, k, v, mask=mask)


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
    return gelu(x.astype(self.dtype) @ up) @ down.astype(self.dtype)


def repeat(unit: type[nn.Module], fields: tuple, name: str, times: int, scan: bool, remat: str, x, *shared):
  """x after `times` units, each `unit(*fields)(x, *shared) -> (x, None)` with parameters of its own.

  Args:
    name: parameters are found under `name_0`, `name_1`, ..., or stacked along a first axis under `names`.
    scan: one compiled unit for all, so that compile time does not grow with depth; else unrolled.
    remat: "none", "dots" (keep what weights multiply, make attention again) or "full" (make all again).
  """
  if remat != "none":
    policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
    unit = nn.remat(unit, policy=policy, prevent_cse=not scan)
  if not scan:
    for i in range(times):
      x, _ = unit(*fields, name=f"{name}_{i}")(x, *shared)
    return x
  stack = nn.scan(
    unit,
    variable_axes={"params": 0, "cache": 0},
    split_rngs={"params": True},
    in_axes=(nn.broadcast,) * len(shared),
    length=times,
    metadata_params={nn.PARTITION_NAME: "layers"},
  )
  return stack(*fields, name=f"{name}s")(x, *shared)[0]
