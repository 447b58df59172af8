"""What trunks are made of: RMSNorm, attention over one axis, MLP, rotary time, a stack of equal units.

Weights are declared with logical axes and multiplied by einsum, so that sharding is a table elsewhere.
Normalisation, softmax and the residual stream are float32; matmuls run in the compute dtype.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

# The slowest pair turns half a circle in pi base^(1 - 2/K) steps: 99 for K = 8, 236 for K = 32. Windows have tens of
# steps, sentences (base 10,000, arXiv:2104.09864) thousands, in which most pairs would hardly turn here. Weights learn
# with it: another base is another model.
ROTARY_BASE = 100.0
NORM_EPSILON = 1e-6  # keeps a vector of zeros at zero
NEVER = -1e9  # a logit of probability 0, which -inf would be without a gradient


def weight(module: nn.Module, name: str, shape: tuple[int, ...], axes: tuple[str | None, ...], fan_in: int):
  """A float32 parameter, normal with variance 1 / fan_in, annotated with logical axes."""
  init = nn.with_logical_partitioning(nn.initializers.normal(fan_in**-0.5), axes)
  return module.param(name, init, shape, jnp.float32)


def caches(module: nn.Module) -> bool:
  """Whether what was seen before is in the collection "cache", and what is seen now goes there."""
  return module.is_mutable_collection("cache") and not module.is_initializing()


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


@jax.jit
def dot_product_attention(q_NxSxHxK, k_NxPxHxK, v_NxPxHxK, mask, bias=None):
  """softmax(q k^T / sqrt(K) + bias) v where the mask [N or 1, 1 or H, S or 1, P] lets it: [N, S, H, K]."""
  return jax.nn.dot_product_attention(q_NxSxHxK, k_NxPxHxK, v_NxPxHxK, bias, mask)


class RMSNorm(nn.Module):
  """rms_norm with a scale that is learned."""

  @nn.compact
  def __call__(self, x):
    scale = self.param(
      "scale", nn.with_logical_partitioning(nn.initializers.ones, ("norm",)), (x.shape[-1],), jnp.float32
    )
    return rms_norm(x, scale)


@jax.jit
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


def attend(q_NxSxHxK, k_NxPxHxK, v_NxPxHxK, seen: Callable, row_S, block: int) -> jax.Array:
  """softmax(q k^T / sqrt(K) + mask) v, where the queries at rows [Q] see what `seen(rows)`, bool [N, 1, Q, P], lets.

  block: queries at a time; 0: all. Scores and mask are then made for S / block rows that lie apart by as much, one such
  set after the other, and again in the backward pass: memory H block P in place of H S P, for a fourth product with
  the keys. Rows that lie apart are spread over the devices that share a sequence. M. Rabe, C. Staats, "Self-attention
  Does Not Need O(n^2) Memory", arXiv:2112.05682; keys are not cut, so that each softmax is that of the library, whose
  blocked kernel (cuDNN) is for one accelerator and half precision.
  """
  n, length, *shape = q_NxSxHxK.shape
  if not 0 < block < length:
    return dot_product_attention(q_NxSxHxK, k_NxPxHxK, v_NxPxHxK, seen(row_S))
  count = -(-length // block)
  filled = count * block - length
  q = jnp.pad(q_NxSxHxK, ((0, 0), (0, filled), (0, 0), (0, 0))).reshape(n, block, count, *shape)
  rows = jnp.pad(row_S, (0, filled), mode="edge").reshape(block, count)

  @jax.checkpoint
  def piece(q_NxQxHxK, row_Q):
    return dot_product_attention(q_NxQxHxK, k_NxPxHxK, v_NxPxHxK, seen(row_Q))

  y = jax.lax.map(lambda cut: piece(*cut), (jnp.moveaxis(q, 2, 0), rows.T))
  return jnp.moveaxis(y, 0, 2).reshape(n, count * block, *shape)[:, :length]


class Attention(nn.Module):
  """softmax(q k^T / sqrt(K) + mask) v over the second axis of x [N, S, D]: s sees s' where seen(rows) lets it.

  seen: rows [Q] -> bool [N, 1, Q, P], the places that the queries at these rows see; x lies at rows first, first + 1,
  ..., of P places. `positional` turns queries and keys by their time (time_S, or their row), as time needs and agents
  do not. With a mutable collection "cache", keys and values of all P places are kept in it: each call puts its own in
  their place and attends to all that it holds, so that `seen` must hide what is later. `prefix` learned keys and values
  come before all and are seen by all (X. Li, P. Liang, arXiv:2101.00190): the values are zero at first, so that they
  only draw attention away. block: as in `attend`.
  """

  heads: int
  head_dim: int
  dtype: jnp.dtype
  positional: bool
  prefix: int
  block: int

  @nn.compact
  def __call__(self, x_NxSxD, seen: Callable, time_S=None, first=0):
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
    row_S = first + jnp.arange(x_NxSxD.shape[1])
    if self.positional:
      time_S = row_S if time_S is None else time_S
      q, k = rotary(q, time_S), rotary(k, time_S)
      if caches(self):
        places = jax.eval_shape(seen, row_S).shape[-1]
        k, v = (self._kept(name, row, first, places) for name, row in (("key", k), ("value", v)))
    if self.prefix:
      k, v, seen = self._prefixed(k, v, seen)
    y_NxSxHxK = attend(q, k, v, seen, row_S, self.block)
    # Zero at first: attention adds what it learns to find, not an average over whoever is there.
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("heads", "head_dim", "embed"))
    out = self.param("o", zeros, (self.heads, self.head_dim, width), jnp.float32)
    return jnp.einsum("nshk,hkd->nsd", y_NxSxHxK, out.astype(self.dtype))

  def _kept(self, name: str, row_NxSxHxK: jax.Array, first, places: int) -> jax.Array:
    """All that the cache holds under `name`, with these rows in their place."""
    shape = (len(row_NxSxHxK), places, *row_NxSxHxK.shape[2:])
    kept = self.variable("cache", name, jnp.zeros, shape, row_NxSxHxK.dtype)
    kept.value = jax.lax.dynamic_update_slice_in_dim(kept.value, row_NxSxHxK, first, axis=1)
    return kept.value

  def _prefixed(self, k, v, seen):
    n = len(k)
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
    room = ((0, 0), (0, 0), (0, 0), (self.prefix, 0))
    return k, v, lambda rows: jnp.pad(seen(rows), room, constant_values=True)


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


def unstacked(params: dict, shapes: dict) -> dict:
  """Parameters of a model whose layers were scanned as those of the same model unrolled (see `repeat`).

  Args: shapes: the unrolled model's parameters, or their shapes.
  """

  def one(name: str, part):
    if name in params:
      return unstacked(params[name], part) if isinstance(part, dict) else params[name]
    stem, _, layer = name.rpartition("_")
    return jax.tree.map(lambda x: x[int(layer)], params[f"{stem}s"])

  return {name: one(name, part) for name, part in shapes.items()}


def stacked(params: dict, shapes: dict) -> dict:
  """Parameters of an unrolled model as those of the same model with scanned layers: `unstacked` backwards.

  Args: shapes: the scanned model's parameters, or their shapes.
  """

  def one(name: str, part):
    if name in params:
      return stacked(params[name], part) if isinstance(part, dict) else params[name]
    stem, length = name.removesuffix("s"), len(jax.tree.leaves(part)[0])
    return jax.tree.map(lambda *layers: jnp.stack(layers), *(params[f"{stem}_{i}"] for i in range(length)))

  return {name: one(name, part) for name, part in shapes.items()}
