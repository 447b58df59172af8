"""Whether stated probabilities come true: likelihood of stated spreads, and calibration as counts.

  nats = 0.5 (e / s)^2 + log s + 0.5 log 2 pi              for an error e and its stated standard deviation s
  gap of bin b = sum over its statements of (came true - stated) / their number
  expected calibration error = sum_b (n_b / n) |gap_b|

A trajectory's trust: one spread s for each point, whose misses of d metres have the density exp(-d / s) / 2 pi s^2 in
the plane (`circles`); tails as of Laplace's, as most plans are nearly right and some are far off:

  nats = d / s + 2 log s + log 2 pi,   P(miss at most d) = 1 - (1 + d / s) exp(-d / s),   mean of d = 2 s

A. Kendall, Y. Gal, arXiv:1703.04977; C. Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599;
for regression the statements are quantiles: V. Kuleshov et al., arXiv:1807.00263.
"""

import jax
import jax.numpy as jnp

from objectives.likelihood import log_density

LEVELS = (0.5, 0.9)  # of stated circles, whose coverage is reported
BINS = 10  # of stated probabilities


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


def circles(miss, spread, mask):
  """{name: (sum_B, count_B)} of misses [B, ...] in metres with stated spreads, where mask [B, ...].

  "loss": nats per point. "covered_50", "covered_90": how often the point lay within the circle that was stated to
  hold it so often, 0.5 and 0.9 when spreads are right. "stated": [B, BINS], how many misses had a stated probability
  of each tenth, of all: 0.1 each when spreads are right (`coverage_error`).
  """
  known = mask.astype(jnp.float32)
  rest = tuple(range(1, miss.ndim))
  miss = jnp.where(mask, miss, 0)
  nats = miss / spread + 2 * jnp.log(spread) + jnp.log(2 * jnp.pi)
  stated = circle_probability(miss, spread)
  count = known.sum(rest)
  bins = jax.nn.one_hot(jnp.clip((stated * BINS).astype(jnp.int32), 0, BINS - 1), BINS) * known[..., None]
  found = {"loss": ((nats * known).sum(rest), count)}
  for level in LEVELS:
    found[f"covered_{round(100 * level)}"] = ((stated <= level) * known).sum(rest), count
  return found | {"stated": (bins.sum(rest), jnp.broadcast_to(count[:, None], (len(count), BINS)))}


def least_nats(spread: float) -> float:
  """Of a point without a miss, at the least spread that can be stated."""
  return float(2 * jnp.log(spread) + jnp.log(2 * jnp.pi))


def circle_probability(miss, spread):
  """The stated probability of a miss at most so large: uniform on [0, 1] when spreads are right."""
  return 1 - (1 + miss / spread) * jnp.exp(-miss / spread)


def coverage_error(stated_G, count_G) -> jax.Array:
  """Mean over levels g / G of |share within the stated level - g / G|, of added-up sums and counts of "stated"."""
  levels = jnp.arange(1, len(stated_G)) / len(stated_G)
  return jnp.abs(jnp.cumsum(stated_G / jnp.maximum(count_G, 1))[:-1] - levels).mean()


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
