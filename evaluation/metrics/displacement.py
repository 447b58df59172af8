"""Displacement errors of forecasts, per agent and as mergeable (sum, count) pairs.

For one agent with K forecasts Y_k, truth y and N steps, e_k[n] = |Y_k[n] - y[n]| (metres):

  ADE_k = mean_n e_k[n]           FDE_k = e_k[N-1]           k* = argmin_k FDE_k (the first on a tie)
  minFDE_K = FDE_k*               minADE_K = ADE_k*          miss_K = FDE_k* > 2 m (strict, at the end point)

the convention of Argoverse 2 (B. Wilson et al., NeurIPS Datasets and Benchmarks 2021, arXiv:2301.00493): one
mode is chosen by its end point and both errors are its own. Agents are scored one by one, not as joint worlds.

Masks: `valid_AxN` says where truth exists. Errors average over valid steps; the end point is the last step,
and an agent whose last step is not valid is left out of the counts. NaN in a forecast of a counted agent
makes the sums NaN and the agent a miss: it is shown, not hidden.

All functions are pure jax.numpy and may be jitted and vmapped; they compute in the dtype of their input.
"""

import jax
import jax.numpy as jnp

MISS_DISTANCE = 2.0  # m
MOVING_DISTANCE = 3.0  # m from the last observed position to the last of the horizon

Pair = tuple[jax.Array, jax.Array]


def displacement(forecast_AxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array) -> jax.Array:
  """[A, N] m, zero where the truth is not valid."""
  x_AxN, y_AxN = (forecast_AxNx2[..., i] - truth_AxNx2[..., i] for i in (0, 1))
  return jnp.where(valid_AxN, jnp.sqrt(x_AxN**2 + y_AxN**2), 0.0)


def counted(valid_AxN: jax.Array) -> jax.Array:
  """bool [A]: agents with a truth at the end point."""
  return valid_AxN[..., -1]


def ade(forecast_AxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array) -> jax.Array:
  """[A] m, mean over valid steps; zero without any."""
  away_AxN = displacement(forecast_AxNx2, truth_AxNx2, valid_AxN)
  # A product keeps roots and sum in loops of their own: together the compiler vectorises neither.
  total_A = jnp.matmul(away_AxN, jnp.ones(away_AxN.shape[-1], away_AxN.dtype), precision="highest")
  return total_A / jnp.maximum(valid_AxN.sum(-1), 1)


def fde(forecast_AxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array) -> jax.Array:
  """[A] m at the last step; zero where that is not valid."""
  return displacement(forecast_AxNx2[..., -1:, :], truth_AxNx2[..., -1:, :], valid_AxN[..., -1:])[..., 0]


def best_mode(forecast_KxAxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array) -> jax.Array:
  """int [A]: k* above. A NaN end point counts as best, so that it reaches the result."""
  return jax.vmap(fde, (0, None, None))(forecast_KxAxNx2, truth_AxNx2, valid_AxN).argmin(0)


def min_fde(forecast_KxAxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array) -> jax.Array:
  """[A] m: end-point error of the mode k*."""
  return jax.vmap(fde, (0, None, None))(forecast_KxAxNx2, truth_AxNx2, valid_AxN).min(0)


def min_ade(forecast_KxAxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array) -> jax.Array:
  """[A] m: average error of the mode k*, which has the best end point."""
  errors_KxA = jax.vmap(ade, (0, None, None))(forecast_KxAxNx2, truth_AxNx2, valid_AxN)
  best_A = best_mode(forecast_KxAxNx2, truth_AxNx2, valid_AxN)
  return jnp.take_along_axis(errors_KxA, best_A[None], axis=0)[0]


def missed(forecast_KxAxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array) -> jax.Array:
  """bool [A]: even the best mode ends more than 2 m away."""
  return ~(min_fde(forecast_KxAxNx2, truth_AxNx2, valid_AxN) <= MISS_DISTANCE)  # NaN misses


def brier_penalty(probability_KxA: jax.Array) -> jax.Array:
  """[K, A]: (1 - p)^2; NaN for what is no probability."""
  possible = (probability_KxA >= 0) & (probability_KxA <= 1)
  return jnp.where(possible, (1 - probability_KxA) ** 2, jnp.nan)


def normalised(probability_KxA: jax.Array) -> jax.Array:
  """[K, A]: divided by their sum over the modes; NaN where all are zero."""
  return probability_KxA / probability_KxA.sum(0, keepdims=True)


def brier_of_best(
  forecast_KxAxNx2: jax.Array, probability_KxA: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array
) -> jax.Array:
  """[A]: (1 - p)^2 of the mode k*, what both Brier variants add to its errors."""
  best_A = best_mode(forecast_KxAxNx2, truth_AxNx2, valid_AxN)
  return jnp.take_along_axis(brier_penalty(probability_KxA), best_A[None], axis=0)[0]


def moving(last_Ax2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array) -> jax.Array:
  """bool [A]: the end point lies more than 3 m from the last observed position."""
  offset = truth_AxNx2[..., -1, :] - last_Ax2
  return counted(valid_AxN) & (jnp.hypot(offset[..., 0], offset[..., 1]) > MOVING_DISTANCE)


def total(value_A: jax.Array, keep_A: jax.Array) -> Pair:
  """(sum, count) over the agents to keep; pairs of several batches add up."""
  value_A = jnp.asarray(value_A, jnp.result_type(value_A, jnp.float32))
  return jnp.where(keep_A, value_A, 0.0).sum(), keep_A.sum()


def forecast_errors(
  forecast_KxAxNx2: jax.Array, truth_AxNx2: jax.Array, valid_AxN: jax.Array, keep_A: jax.Array
) -> dict[str, Pair]:
  """(sum, count) of minADE, minFDE and miss_rate over the agents of `keep_A` that have an end point."""
  keep_A = keep_A & counted(valid_AxN)
  values = {"minADE": min_ade, "minFDE": min_fde, "miss_rate": missed}
  return {
    name: total(function(forecast_KxAxNx2, truth_AxNx2, valid_AxN), keep_A)
    for name, function in values.items()
  }


def brier_errors(
  forecast_KxAxNx2: jax.Array,
  probability_KxA: jax.Array,
  truth_AxNx2: jax.Array,
  valid_AxN: jax.Array,
  keep_A: jax.Array,
) -> dict[str, Pair]:
  """(sum, count) of brier_minADE and brier_minFDE over the same agents."""
  keep_A = keep_A & counted(valid_AxN)
  penalty_A = brier_of_best(forecast_KxAxNx2, probability_KxA, truth_AxNx2, valid_AxN)
  values = {"brier_minADE": min_ade, "brier_minFDE": min_fde}
  return {
    name: total(function(forecast_KxAxNx2, truth_AxNx2, valid_AxN) + penalty_A, keep_A)
    for name, function in values.items()
  }
