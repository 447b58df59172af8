"""Whether scores tell two classes apart: area under the ROC curve, and intersection over union of occupancy.

AUC is the chance that a positive has a higher score than a negative, a tie counting one half: the mean over positives
of the share of negatives below them (H. Mann and D. Whitney, Annals of Mathematical Statistics 1947). NaN where a class
is absent.

IoU of cells = |claimed and true| / |claimed or true|. Sums over scenes are merged before they are divided, so that
empty scenes do not weigh as much as full ones; NaN where both are empty.

NaN in a score that counts makes the result NaN. Pure jax.numpy with masks.
"""

import jax
import jax.numpy as jnp

from evaluation.metrics.displacement import Pair


def auc(score_N: jax.Array, positive_N: jax.Array, keep_N: jax.Array) -> jax.Array:
  """Area under the ROC curve of the scores that count."""
  positive_N, negative_N = keep_N & positive_N, keep_N & ~positive_N
  negatives = negative_N.sum()
  ordered_N = jnp.where(negative_N, score_N, jnp.inf).sort()
  below_N = jnp.searchsorted(ordered_N, score_N, side="left")
  up_to_N = jnp.minimum(jnp.searchsorted(ordered_N, score_N, side="right"), negatives)
  share_N = 0.5 * (below_N + up_to_N).astype(score_N.dtype) / negatives
  unknown = jnp.isnan(jnp.where(keep_N, score_N, 0.0)).any()
  return jnp.where(unknown, jnp.nan, jnp.where(positive_N, share_N, 0.0).sum() / positive_N.sum())


def intersection_over_union(claimed: jax.Array, true: jax.Array, keep: jax.Array) -> Pair:
  """Count of cells in both and in either, of boolean arrays alike; the IoU is the ratio of the sums."""
  return (claimed & true & keep).sum(), ((claimed | true) & keep).sum()


def occupancy(probability: jax.Array, true: jax.Array, keep: jax.Array, threshold: float) -> Pair:
  """`intersection_over_union` of the cells whose probability exceeds the threshold; NaN counts as a wrong claim."""
  return intersection_over_union(
    jnp.where(jnp.isnan(probability), ~true, probability > threshold), true, keep
  )
