"""Finite scalar quantisation: every channel is bounded and rounded, a code is a point of a fixed grid.

With L_i levels in channel i, h_i = (L_i - 1) (1 + EPSILON) / 2 and o_i = 1/2 for even L_i, else 0,

  f(z)_i = h_i tanh(z_i + atanh(o_i / h_i)) - o_i,   q_i = round(f(z)_i) / floor(L_i / 2),   dq/df = 1 / floor(L_i / 2)

so q_i takes L_i values in [-1, 1], nothing has to be learned, and no code can die. The index of a code is its levels
read as digits in mixed radix, the first channel the lowest digit: V = prod L_i.

F. Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", arXiv:2309.15505.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from models.vq import straight_through

EPSILON = 1e-3  # so that the outermost levels are reached by finite numbers


def bound(z, levels: tuple[int, ...]):
  """f(z): channels inside the range of their levels, unrounded."""
  count = np.asarray(levels, np.float32)
  half = (count - 1) * (1 + EPSILON) / 2
  offset = np.where(count % 2 == 0, 0.5, 0.0).astype(np.float32)
  return jnp.tanh(z + _row(np.arctanh(offset / half), z)) * _row(half, z) - _row(offset, z)


def quantise(z, levels: tuple[int, ...]):
  """q [..., channels], with the gradient of f(z) / floor(L / 2)."""
  bounded = bound(z, levels)
  return straight_through(bounded, jnp.round(bounded)) / _row(_half_widths(levels), z)


def to_index(q, levels: tuple[int, ...]):
  """Codes [..., channels] to indices int32 [...]."""
  half = _row(_half_widths(levels), q)
  digits = jnp.round(q * half + half).astype(jnp.int32)
  return (digits * _row(_radix(levels), digits)).sum(-1)


def from_index(index, levels: tuple[int, ...]):
  """The inverse of `to_index`: codes float32 [..., channels]."""
  index = jnp.asarray(index)[..., None]
  digits = index // _row(_radix(levels), index) % _row(np.asarray(levels, np.int32), index)
  half = _row(_half_widths(levels), index)
  return (digits - half) / half


def _half_widths(levels: tuple[int, ...]) -> np.ndarray:
  return (np.asarray(levels) // 2).astype(np.float32)


def _radix(levels: tuple[int, ...]) -> np.ndarray:
  return np.cumprod([1, *levels[:-1]]).astype(np.int32)


def _row(values: np.ndarray, like):
  """`values` [channels] as a row that broadcasts over the other axes of `like`."""
  return jnp.asarray(values).reshape((1,) * (like.ndim - 1) + (-1,))


class FSQ(nn.Module):
  """encode(z [..., channels]) -> (indices [...], quantised [..., channels]); decode(indices) -> codes.

  Attributes: levels: L_i of every channel.
  """

  levels: tuple[int, ...]

  @property
  def vocabulary(self) -> int:
    return math.prod(self.levels)

  @property
  def dim(self) -> int:
    return len(self.levels)

  def encode(self, z):
    q = quantise(z.astype(jnp.float32), self.levels)
    return to_index(q, self.levels), q

  def decode(self, index):
    return from_index(index, self.levels)
