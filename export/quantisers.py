"""Numbers of few bits: q = clip(round(x / s) + z, low, high), and back: x' = (q - z) s.

Halves round to even, as in ONNX's QuantizeLinear, so that an artifact and its twin in JAX choose the same integers.
Weights [K, N] have a scale for each of their N columns and no zero point, activations one scale and one zero point.
B. Jacob et al., arXiv:1712.05877.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

LEAST_SCALE = 1e-12  # of a column of zeros, which any scale keeps


@dataclasses.dataclass(frozen=True)
class Grid:
  """The integers that there are, low to high."""

  low: int
  high: int


UNSIGNED = Grid(0, 255)
SIGNED = Grid(-128, 127)
# Weights leave the lowest integer out: the grid is symmetric, and sums of two signed products of 8 bits fit into 16.
# Those of unsigned by signed ones do not, and saturate on x86 without VNNI (export/processor.py).
# Files have 8 and 4 bits; the others are for laws of what bits cost.
WEIGHTS = {bits: Grid(1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) for bits in (8, 6, 5, 4, 3)}


@dataclasses.dataclass(frozen=True)
class Affine:
  """A grid laid over a line: scale s > 0, zero z, the integer that stands for 0."""

  scale: float
  zero: int
  grid: Grid

  def __post_init__(self):
    if not (0 < self.scale < np.inf and self.grid.low <= self.zero <= self.grid.high):
      raise ValueError(f"no grid has scale {self.scale} and zero {self.zero}")


def affine(least: float, greatest: float, grid: Grid, symmetric: bool) -> Affine:
  """The grid over [least, greatest], widened to hold 0, which must stay exact; symmetric: z = 0."""
  least, greatest = min(float(least), 0.0), max(float(greatest), 0.0)
  if symmetric:
    scale = max(-least / -grid.low if grid.low else 0.0, greatest / grid.high)
    return Affine(_float32(scale), 0, grid)
  scale = _float32((greatest - least) / (grid.high - grid.low))
  return Affine(scale, int(np.clip(np.rint(grid.low - least / scale), grid.low, grid.high)), grid)


def _float32(scale: float) -> float:
  return float(np.float32(max(scale, LEAST_SCALE)))


def round_trip(x: jax.Array, at: Affine) -> jax.Array:
  """x', float32."""
  q = jnp.clip(jnp.round(x / jnp.float32(at.scale)) + at.zero, at.grid.low, at.grid.high)
  return (q - at.zero) * jnp.float32(at.scale)


def dynamic_round_trip(x: jax.Array) -> jax.Array:
  """x' on the unsigned grid over the range of x itself, as ONNX's DynamicQuantizeLinear lays it."""
  least, greatest = jnp.minimum(x.min(), 0.0), jnp.maximum(x.max(), 0.0)
  scale = jnp.maximum((greatest - least) / 255.0, LEAST_SCALE)
  zero = jnp.clip(jnp.round(-least / scale), 0, 255)
  return (jnp.clip(jnp.round(x / scale) + zero, 0, 255) - zero) * scale


def row_round_trip(x: jax.Array) -> jax.Array:
  """x' on the signed grid over the range of each row, its last axis, as LiteRT's kernels (XNNPACK) lay it."""
  least = jnp.minimum(x.min(-1, keepdims=True), 0.0)
  greatest = jnp.maximum(x.max(-1, keepdims=True), 0.0)
  steps = jnp.where(greatest > least, 255.0 / (greatest - least), 1.0)
  zero = jnp.clip(jnp.round(-128.0 - least * steps), -128, 127)
  return (jnp.clip(jnp.round(x * steps) + zero, -128, 127) - zero) / steps


def column_scales(weight_KxN: np.ndarray, bits: int) -> np.ndarray:
  """float32 [N]: the greatest weight of a column is the greatest integer."""
  greatest_N = np.abs(weight_KxN).max(0, initial=0.0)
  return np.maximum(greatest_N / WEIGHTS[bits].high, LEAST_SCALE).astype(np.float32)


def weight_integers(weight_KxN: np.ndarray, scale_N: np.ndarray, bits: int) -> np.ndarray:
  """int8 [K, N]."""
  grid = WEIGHTS[bits]
  return np.clip(np.rint(weight_KxN / scale_N[None]), grid.low, grid.high).astype(np.int8)


def weight_round_trip(weight_KxN: np.ndarray, bits: int) -> np.ndarray:
  scale_N = column_scales(weight_KxN, bits)
  return weight_integers(weight_KxN, scale_N, bits).astype(np.float32) * scale_N[None]
