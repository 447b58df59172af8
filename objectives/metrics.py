"""What losses report: sums and counts, which add up exactly over micro-batches, devices, hosts and clients.

A metric is a pair (sum, count) and means sum / count once all pairs have been added. Three names mean something:
"objective" is minimised, "loss" is what a run is judged by on held-out data (by probes, where the loss is a distance to
targets of the run's own making), and "by_domain" or "<name>_by_domain" is a vector over domains; "iou" or "<name>_iou"
is one over classes. Any other scalar is logged as it is (a rank, a perplexity: (value, 1)). Statistics that
`Task.after` needs, such as (sums_KxD, counts_K) of a codebook, travel in the same way and have no mean here.

A batch of clips holds `real_B`: false where a record only fills up the last held-out batch. Whatever is counted is
weighed by it, and nothing of such a record may serve as another's negative, neighbour or statistic. A batch of an
order that is not natural may hold `weight_B` (data/mixtures.py), float: sums and counts are weighed by that, too.
"""

import jax
import jax.numpy as jnp

Metric = tuple[jax.Array, jax.Array]
Metrics = dict[str, Metric]


def record_weights(batch: dict) -> jax.Array:
  """[B] float32: what each record counts. "weight_B", where there is one, restores natural frequencies."""
  real_B = batch["real_B"].astype(jnp.float32) if "real_B" in batch else jnp.ones(batch["domain_B"].shape)
  return real_B * batch["weight_B"] if "weight_B" in batch else real_B


def weighted(values: jax.Array, weights: jax.Array) -> Metric:
  """(sum of values * weights, sum of weights), of arrays of one shape."""
  weights = weights.astype(jnp.float32)
  return (values * weights).sum(), weights.sum()


def by_sample(values: jax.Array, weights: jax.Array) -> Metric:
  """The same for every record: two arrays [B], of arrays [B, ...]."""
  weights = weights.astype(jnp.float32)
  axes = tuple(range(1, values.ndim))
  return (values * weights).sum(axes), weights.sum(axes)


def by_domain(values: jax.Array, weights: jax.Array, domain_B: jax.Array, domains: int) -> Metric:
  """The same for every domain: two arrays [domains], of arrays [B, ...] and the domain of each record."""
  home_BxG = jax.nn.one_hot(domain_B, domains, dtype=jnp.float32)
  sums_B, counts_B = by_sample(values, weights)
  return sums_B @ home_BxG, counts_B @ home_BxG


def reduce(metrics: list[Metrics]) -> dict[str, jax.Array]:
  """Adds sums and counts over batches, then divides; an empty slice gives NaN. What has no mean is left out."""
  total = jax.tree.map(lambda *values: sum(values), *metrics)
  return {name: value / count for name, (value, count) in total.items() if value.shape == count.shape}
