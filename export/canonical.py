"""What is written otherwise for a capture, so that graphs are clean and every runtime has their operators.

A rule takes the values and parameters of one primitive, or of one jitted call by its name, and returns its outputs; the
function stays the same to rounding. Runtimes know a normalisation or an activation when it is spelled as they expect.
"""

import jax
import jax.numpy as jnp

from export.interpreter import Rule
from models.layers import NORM_EPSILON


def _gelu(values: list, params: dict) -> list:
  """Gelu, by tanh: one node."""
  return [jax.nn.gelu(values[0], approximate=True)]


def _rms_norm(values: list, params: dict) -> list:
  """Division by a root, which runtimes fuse into one normalisation; a product with its inverse they do not know."""
  x, scale_D = values
  root = jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + NORM_EPSILON)
  return [x / root * scale_D.reshape((1,) * (x.ndim - 1) + (-1,))]


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


RULES: dict[str, Rule] = {
  "gelu": _gelu,
  "rms_norm": _rms_norm,
  "softplus": _softplus,
  "cummax": _cummax,
  "polynomial": _polynomial,
}
