"""Displacement errors in the convention of nuScenes, under names of their own.

The k most probable modes of an agent are kept; on equal probabilities the lower index comes first. With e_m[n] the
distance of mode m at step n,

  top_ade_k = min_m mean_n e_m[n]      top_fde_k = min_m e_m[N-1]      top_missed_k = all_m (max_n e_m[n] >= 2 m)

over these modes: the minima are independent of each other, and a miss looks at the largest distance of the whole
course, touches at exactly 2 m, and needs every mode. Argoverse 2 (evaluation/metrics/displacement.py) chooses one
mode by its end point and misses strictly beyond 2 m there: the two must never share a column. Convention: H. Caesar
et al., "nuScenes", CVPR 2020, arXiv:1903.11027, prediction challenge.

Masks as in evaluation/metrics/displacement.py. NaN in a mode that is kept makes its errors NaN, and the agent a miss.
"""

import jax
import jax.numpy as jnp

from evaluation.metrics import displacement

MISS_DISTANCE = 2.0  # m


def most_probable(forecast_KxAxNx2: jax.Array, probability_KxA: jax.Array, k: int) -> jax.Array:
  """[k, A, N, 2]: each agent's k most probable modes; NaN is the least probable."""
  order_KxA = jnp.argsort(-probability_KxA, axis=0, stable=True)[:k]
  return jnp.take_along_axis(forecast_KxAxNx2, order_KxA[..., None, None], axis=0)


def top_errors(
  forecast_KxAxNx2: jax.Array,
  probability_KxA: jax.Array,
  truth_AxNx2: jax.Array,
  valid_AxN: jax.Array,
  keep_A: jax.Array,
  k: int,
) -> dict[str, displacement.Pair]:
  """(sum, count) of top_ade_k, top_fde_k and top_missed_k over the agents of `keep_A` that have an end point."""
  keep_A = keep_A & displacement.counted(valid_AxN)
  kept = most_probable(forecast_KxAxNx2, probability_KxA, k)
  distance_kxAxN = jax.vmap(displacement.displacement, (0, None, None))(kept, truth_AxNx2, valid_AxN)
  ade_kxA = distance_kxAxN.sum(-1) / jnp.maximum(valid_AxN.sum(-1), 1)[None]
  missed_A = ~(distance_kxAxN.max(-1) < MISS_DISTANCE).any(0) | jnp.isnan(distance_kxAxN).any((0, 2))
  values = {"ade": ade_kxA.min(0), "fde": distance_kxAxN[..., -1].min(0), "missed": missed_A}
  return {f"top_{name}_{k}": displacement.total(value_A, keep_A) for name, value_A in values.items()}
