"""Whether stated probabilities come true: likelihood of stated spreads, and calibration as counts.

  nats = 0.5 (e / s)^2 + log s + 0.5 log 2 pi              for an error e and its stated standard deviation s
  gap of bin b = sum over its statements of (came true - stated) / their number
  expected calibration error = sum_b (n_b / n) |gap_b|

A. Kendall, Y. Gal, arXiv:1703.04977; C. Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599;
for regression the statements are quantiles: V. Kuleshov et al., arXiv:1807.00263.
"""

import jax
import jax.numpy as jnp

from objectives.likelihood import log_density


def gaussian(error, spread, mask):
  """{name: (sum_B, count_B)} of errors [B, ...] with stated standard deviations, where mask [B, ...].

  "loss": nats. "within": share of errors within one stated deviation, 0.683 when they are right.
  """
  error = jnp.where(mask, error, 0)
  nats = -log_density(error, spread, "gaussian")
  known = mask.astype(jnp.float32)
  rest = tuple(range(1, error.ndim))
  within = (jnp.abs(error) <= spread) * known
  return {
    "loss": ((nats * known).sum(rest), known.sum(rest)),
    "within": (within.sum(rest), known.sum(rest)),
  }


def quantile(error, spread):
  """The stated probability of an error at most this large in size: uniform on [0, 1] when spreads are right."""
  return jax.lax.erf(jnp.abs(error) / spread * 2**-0.5)


def calibration(stated, came_true, mask, bins: int):
  """(sum_BxG, count_BxG): by bin of the stated probability [B, ...], came_true - stated, and how many.

  They add up over batches; their ratio is each bin's gap.
  """
  bin_ = jnp.clip((stated * bins).astype(jnp.int32), 0, bins - 1)
  inside = jax.nn.one_hot(bin_, bins) * mask[..., None]
  rest = tuple(range(1, stated.ndim))
  return (inside * (came_true - stated)[..., None]).sum(rest), inside.sum(rest)


def expected_calibration_error(sum_G, count_G) -> jax.Array:
  """sum_b |sum_b| / n of added-up sums and counts."""
  return jnp.abs(sum_G).sum() / jnp.maximum(count_G.sum(), 1)


def coverage(error, spread, mask, levels: int):
  """(sum_BxG, count_BxG): at level g / G, how often the error was within the stated quantile, and how many.

  Right spreads give g / G for g = 1 .. G - 1.
  """
  level = jnp.arange(1, levels) / levels
  stated = quantile(jnp.where(mask, error, 0), spread)
  rest = tuple(range(1, error.ndim))
  under = (stated[..., None] <= level.reshape((1,) * error.ndim + (-1,))) & mask[..., None]
  count = mask.sum(rest).astype(jnp.float32)
  return under.sum(rest).astype(jnp.float32), jnp.broadcast_to(count[:, None], (len(count), levels - 1))
