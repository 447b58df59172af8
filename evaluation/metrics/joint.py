"""Displacement errors of joint forecasts: K worlds, in each of which all agents move together.

For world k and the C agents that count (what ADE_k, FDE_k and a miss of an agent are:
evaluation/metrics/displacement.py):

  worldADE_k = sum_a ADE_k(a) / C      worldFDE_k = sum_a FDE_k(a) / C      k* = argmin_k worldFDE_k

One world is chosen for all agents by its end points and every error is its own: joint errors are never smaller than
those of agents who choose their mode one by one. The penalty of a Brier variant is (1 - p)^2 of the world's
probability. Two agents of a world collide where their centres come closer than 1 m at any step (strict): a count
that boxes (evaluation/metrics/boxes.py) correct. Convention of Argoverse 2 (B. Wilson et al., NeurIPS Datasets and
Benchmarks 2021, arXiv:2301.00493).

Agents that do not count take no part in means and collisions. Without any the errors are NaN.
"""

import jax
import jax.numpy as jnp
import numpy as np

from evaluation.metrics import displacement

COLLISION_DISTANCE = 1.0  # m between centres


def world_fde(
  forecast_KxAxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array, keep_A: jax.Array
) -> jax.Array:
  """[K] m."""
  fde_KxA = jax.vmap(displacement.fde, (0, None, None))(forecast_KxAxNx2, truth_AxNx2, valid_AxN)
  return _mean(fde_KxA, keep_A & displacement.counted(valid_AxN))


def world_ade(
  forecast_KxAxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array, keep_A: jax.Array
) -> jax.Array:
  """[K] m."""
  ade_KxA = jax.vmap(displacement.ade, (0, None, None))(forecast_KxAxNx2, truth_AxNx2, valid_AxN)
  return _mean(ade_KxA, keep_A & displacement.counted(valid_AxN))


def world_missed(
  forecast_KxAxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array, keep_A: jax.Array
) -> jax.Array:
  """bool [K, A]: the agent ends more than 2 m away in this world."""
  fde_KxA = jax.vmap(displacement.fde, (0, None, None))(forecast_KxAxNx2, truth_AxNx2, valid_AxN)
  return ~(fde_KxA <= displacement.MISS_DISTANCE) & (keep_A & displacement.counted(valid_AxN))[None]


def world_collided(forecast_KxAxNx2: jax.Array, valid_AxN: jax.Array, keep_A: jax.Array) -> jax.Array:
  """bool [K, A]: somebody's centre comes within 1 m of the agent's, both there; NaN counts as contact."""
  one, other = np.triu_indices(keep_A.shape[0], 1)
  by_axis = forecast_KxAxNx2[..., 0], forecast_KxAxNx2[..., 1]
  x_KxPxN, y_KxPxN = (part_KxAxN[:, one] - part_KxAxN[:, other] for part_KxAxN in by_axis)
  there_AxN = valid_AxN & keep_A[:, None]
  met_KxPxN = ~(x_KxPxN**2 + y_KxPxN**2 >= COLLISION_DISTANCE**2) & (there_AxN[one] & there_AxN[other])[None]
  agent_A = np.arange(keep_A.shape[0])
  took_part_PxA = (agent_A == one[:, None]) | (agent_A == other[:, None])
  return (met_KxPxN.any(2)[..., None] & took_part_PxA[None]).any(1)


def joint_errors(
  forecast_KxAxNx2: jax.Array,
  probability_K: jax.Array,
  truth_AxNx2: jax.Array,
  valid_AxN: jax.Array,
  keep_A: jax.Array,
) -> dict[str, jax.Array]:
  """Scalars of the best world k*: worldADE, worldFDE, brier_worldFDE, world_miss_rate, world_collision_rate.

  The two rates are shares of the agents that count. A NaN world counts as best, so that it reaches the result.
  """
  scene = truth_AxNx2, valid_AxN, keep_A
  count = (keep_A & displacement.counted(valid_AxN)).sum()
  fde_K = world_fde(forecast_KxAxNx2, *scene)
  best = fde_K.argmin()
  rates = {
    "world_miss_rate": world_missed(forecast_KxAxNx2, *scene),
    "world_collision_rate": world_collided(
      forecast_KxAxNx2, valid_AxN, keep_A & displacement.counted(valid_AxN)
    ),
  }
  return {
    "worldADE": world_ade(forecast_KxAxNx2, *scene)[best],
    "worldFDE": fde_K[best],
    "brier_worldFDE": fde_K[best] + displacement.brier_penalty(probability_K[:, None])[best, 0],
  } | {name: flag_KxA[best].sum() / count for name, flag_KxA in rates.items()}


def _mean(value_KxA: jax.Array, keep_A: jax.Array) -> jax.Array:
  return jnp.where(keep_A[None], value_KxA, 0.0).sum(1) / keep_A.sum()
