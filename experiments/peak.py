"""The machine's measured matmul peak: the denominator of MFU."""

import time

import jax
import jax.numpy as jnp


def matmul_peak(dtype: str, size: int = 1024, repeats: int = 5) -> float:
  """FLOP/s of a square matmul on one device, the best of `repeats`."""
  x = jnp.ones((size, size), jnp.dtype(dtype))
  multiply = jax.jit(lambda x: x @ x)
  multiply(x).block_until_ready()
  best = float("inf")
  for _ in range(repeats):
    begun = time.perf_counter()
    multiply(x).block_until_ready()
    best = min(best, time.perf_counter() - begun)
  return 2 * size**3 / best
