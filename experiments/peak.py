"""The machine's measured matmul peak, and a run's share of it (MFU)."""

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


class Speed:
  """Tokens per second, and the model's share of the matmul peak of all devices, since the first step.

  Measures the peak when made, so make it while the devices are idle.
  """

  def __init__(self, flops_per_token: int, dtype: str):
    self._flops, self._peak = flops_per_token, matmul_peak(dtype) * jax.device_count()
    self._begun: tuple[float, float] | None = None

  def shown(self, tokens: float) -> dict[str, float]:
    """What the progress bar shows when `tokens` have been seen; nothing after the step that compiled."""
    now = time.monotonic()
    if self._begun is None or tokens < self._begun[1]:  # a roll-back may go to before the beginning
      self._begun = now, tokens
      return {}
    rate = (tokens - self._begun[1]) / max(now - self._begun[0], 1e-9)
    return {"tokens/s": rate, "MFU": rate * self._flops / self._peak}
