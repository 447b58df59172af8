"""How far a trajectory can be trusted: the likelihood of stated spreads, and whether they come true, as counts.

One spread s for each point, whose misses of d metres have the density exp(-d / s) / 2 pi s^2 in the plane; tails as of
Laplace's, as most plans are nearly right and some are far off:

  nats = d / s + 2 log s + log 2 pi,   P(miss at most d) = 1 - (1 + d / s) exp(-d / s),   mean of d = 2 s

Learned spreads: A. Kendall, Y. Gal, arXiv:1703.04977. Whether quantiles come true: V. Kuleshov et al., "Accurate
Uncertainties for Deep Learning Using Calibrated Regression", arXiv:1807.00263.
"""

import jax
import jax.numpy as jnp

LEVELS = (0.5, 0.9)  # of stated circles, whose coverage is reported
BINS = 10  # of stated probabilities


def circles(miss, spread, mask):
  """{name: (sum_B, count_B)} of misses [B, ...] in metres with stated spreads, where mask [B, ...].

  "loss": nats per point. "covered_50", "covered_90": how often the point lay within the circle that was stated to
  hold it so often, 0.5 and 0.9 when spreads are right. "stated": [B, BINS], how many misses had a stated probability
  of each tenth, of all: 0.1 each when spreads are right (evaluation/split_metrics.py reads one number off them).
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
