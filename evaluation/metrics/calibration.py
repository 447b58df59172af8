"""Whether stated probabilities are frequencies: calibration error, Brier score, log loss.

Of N predictions over V classes, p_n the stated probabilities, y_n the outcome:

  NLL    = -mean ln p_n[y_n]                         nats
  Brier  = mean sum_v (p_n[v] - [v = y_n])^2         in [0, 2] (G. Brier, Monthly Weather Review 1950); for V = 2 this
                                                     is twice the squared error of one of the two probabilities
  ECE    = sum_b (N_b / N) |share correct in b - mean confidence in b|

over bins b of the confidence max_v p_n[v], either of equal width in (0, 1], closed above, or of equal mass: N / bins
predictions each in order of confidence, ties in the order given (C. Guo et al., ICML 2017, arXiv:1706.04599; A. Kumar
et al., NeurIPS 2019, arXiv:1909.10155). A number without its binning means nothing: `binning` has no default.

Masks: predictions where `keep` is False do not count. NaN in one that counts makes its result NaN; without any that
counts the result is NaN. Pure jax.numpy; sums of several batches are merged by the pairs (sum, count) of `nll` and
`brier`. ECE is no mean over predictions: gather them first.
"""

import jax
import jax.numpy as jnp

from evaluation.metrics.displacement import Pair, total

EQUAL_WIDTH, EQUAL_MASS = "equal_width", "equal_mass"


def nll(log_probability_NxV: jax.Array, outcome_N: jax.Array, keep_N: jax.Array) -> Pair:
  """Sum and count of -ln p of the outcomes (int), from normalised log probabilities."""
  return total(-jnp.take_along_axis(log_probability_NxV, outcome_N[:, None], axis=1)[:, 0], keep_N)


def brier(probability_NxV: jax.Array, outcome_N: jax.Array, keep_N: jax.Array) -> Pair:
  """Sum and count of the squared distance between probabilities and the outcome's indicator."""
  indicator_NxV = jax.nn.one_hot(outcome_N, probability_NxV.shape[1], dtype=probability_NxV.dtype)
  return total(((probability_NxV - indicator_NxV) ** 2).sum(1), keep_N)


def calibration_error(
  confidence_N: jax.Array, correct_N: jax.Array, keep_N: jax.Array, bins: int, binning: str
) -> jax.Array:
  """ECE of confidences in [0, 1] and whether the prediction was correct. binning: EQUAL_WIDTH or EQUAL_MASS."""
  count, claimed, correct = reliability(confidence_N, correct_N, keep_N, bins, binning)
  wrong = jnp.isnan(jnp.where(keep_N, confidence_N, 0.0)).any()
  return jnp.where(wrong, jnp.nan, jnp.abs(correct - claimed).sum() / count.sum())


def reliability(
  confidence_N: jax.Array, correct_N: jax.Array, keep_N: jax.Array, bins: int, binning: str
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """By bin: count, sum of confidences, count of correct; each [bins]. The points of a reliability diagram."""
  if binning == EQUAL_WIDTH:
    bin_N = jnp.ceil(confidence_N * bins).astype(jnp.int32) - 1
  elif binning == EQUAL_MASS:
    order_N = jnp.where(keep_N, confidence_N, jnp.inf).argsort(stable=True)
    rank_N = jnp.zeros_like(order_N).at[order_N].set(jnp.arange(len(order_N)))
    bin_N = rank_N * bins // jnp.maximum(keep_N.sum(), 1)
  else:
    raise ValueError(f"binning is {binning!r}, not {EQUAL_WIDTH!r} or {EQUAL_MASS!r}")
  bin_N = jnp.clip(bin_N, 0, bins - 1)
  parts = keep_N, jnp.where(keep_N, confidence_N, 0.0), keep_N & correct_N
  count, claimed, correct = (
    jax.ops.segment_sum(part.astype(confidence_N.dtype), bin_N, num_segments=bins) for part in parts
  )
  return count, claimed, correct
