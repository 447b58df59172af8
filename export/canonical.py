"""What is written otherwise for a capture, so that graphs are clean and every runtime has their operators.

A rule takes the values and parameters of one primitive, or of one jitted call by its file and name, and returns its
outputs; the function stays the same to rounding. Runtimes know a normalisation or an activation when it is spelled as
they expect.
"""

import jax
import jax.numpy as jnp
import numpy as np

from export.interpreter import Rule
from models.layers import NEVER, NORM_EPSILON

RMS_NORM = "models/layers.rms_norm"


def _gelu(values: list, params: dict) -> list:
  """Gelu, by tanh: one node."""
  return [jax.nn.gelu(values[0], approximate=True)]


def _rms_norm(values: list, params: dict) -> list:
  """A power and division by a root, which runtimes fuse into one normalisation; other spellings they do not know."""
  x, scale_D = values
  square = jax.lax.pow(x, jnp.full_like(x, 2.0))
  root = jnp.sqrt(jnp.mean(square, axis=-1, keepdims=True) + NORM_EPSILON)
  return [x / root * scale_D.reshape((1,) * (x.ndim - 1) + (-1,))]


def _rotary(values: list, params: dict) -> list:
  """Nothing, where every place is of step 0: all angles are 0 there."""
  x, *time = values
  still = time and not isinstance(time[0], jax.core.Tracer) and not np.asarray(time[0]).any()
  return [x] if still else []


def _attention(values: list, params: dict) -> list:
  """Heads before places, so that both products are plain ones of matrices; a mask that is constant is an addition."""
  q, k, v, mask, *bias = values
  scores = jnp.matmul(jnp.transpose(q, (0, 2, 1, 3)) * q.shape[-1] ** -0.5, jnp.transpose(k, (0, 2, 3, 1)))
  for one in bias:
    scores = scores + one
  if isinstance(mask, jax.core.Tracer):
    scores = jnp.where(mask, scores, NEVER)
  elif not np.asarray(mask).all():
    scores = scores + np.where(np.asarray(mask), 0.0, NEVER).astype(np.float32)
  seen = jnp.matmul(jax.nn.softmax(scores, axis=-1), jnp.transpose(v, (0, 2, 1, 3)))
  return [jnp.transpose(seen, (0, 2, 1, 3))]


def _softplus(values: list, params: dict) -> list:
  return [jax.nn.softplus(values[0])]


def _cummax(values: list, params: dict) -> list:
  """Over floats: runtimes have no running maximum of integers, and places are small numbers, exact as floats."""
  (x,) = values
  running = jax.lax.cummax(x.astype(jnp.float32), axis=params["axis"], reverse=params["reverse"])
  return [running.astype(x.dtype)]


def _polynomial(values: list, params: dict) -> list:
  """c_0 + c_1 x + c_2 x^2 + ... by Horner's rule."""
  x, *coefficients = values
  total = jnp.full_like(x, coefficients[-1])
  for coefficient in reversed(coefficients[:-1]):
    total = total * x + coefficient
  return [total]


def _dynamic_slice(values: list, params: dict) -> list:
  """One row of an axis, wherever it is: a sum over a mask, where runtimes would clamp and gather."""
  x, *starts = values
  axis = _cut(x.shape, params["slice_sizes"])
  if axis is None:
    return [jax.lax.dynamic_slice(x, starts, params["slice_sizes"])]
  here = _row(x.shape, axis, starts[axis])
  if x.dtype == bool:
    return [(x & here).any(axis, keepdims=True)]
  wide = x.astype(jnp.float32) if x.dtype == jnp.float16 else x  # LiteRT chooses between no halves
  return [jnp.where(here, wide, jnp.zeros_like(wide)).sum(axis, keepdims=True).astype(x.dtype)]


def _dynamic_update_slice(values: list, params: dict) -> list:
  """The same row written: a choice between old and new."""
  x, new, *starts = values
  axis = _cut(x.shape, new.shape)
  if axis is None:
    return [jax.lax.dynamic_update_slice(x, new, starts)]
  return [jnp.where(_row(x.shape, axis, starts[axis]), new, x)]


def _cut(shape: tuple[int, ...], sizes: tuple[int, ...]) -> int | None:
  """The axis of which a slice takes one row, if it is whole along the others."""
  axes = [axis for axis, size in enumerate(sizes) if size != shape[axis]]
  return axes[0] if len(axes) == 1 and sizes[axes[0]] == 1 else None


def _row(shape: tuple[int, ...], axis: int, start) -> jax.Array:
  """Where an axis is at `start`, clipped to it, as bool with as many axes as `shape`."""
  form = [length if i == axis else 1 for i, length in enumerate(shape)]
  place = jnp.clip(jnp.reshape(start, (1,) * len(shape)), 0, shape[axis] - 1)
  return jnp.arange(shape[axis], dtype=place.dtype).reshape(form) == place


RULES: dict[str, Rule] = {
  "models/layers.gelu": _gelu,
  RMS_NORM: _rms_norm,
  "models/layers.dot_product_attention": _attention,
  "models/layers.rotary": _rotary,
  "nn/functions.softplus": _softplus,  # jax.nn's
  "cummax": _cummax,
  "polynomial": _polynomial,
  "dynamic_slice": _dynamic_slice,
  "dynamic_update_slice": _dynamic_update_slice,
}
