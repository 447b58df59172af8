"""Forecasts of other agents: a mixture of K trajectories for each, as in `imitation`, and how often all miss.

minADE and minFDE over K modes, miss rate at MISS_M: M.-F. Chang et al., "Argoverse", arXiv:1911.02620.
"""

import jax.numpy as jnp

from objectives import imitation

MISS_M = 2.0  # of the benchmark above


def loss(futures_BxTxKxFx2, mask_BxTxKxF, present_BxTxK, mean, scale, logits, kind: str):
  """{name: (sum_B, count_B)} of modes [B, T, K, N, F, 2] with logits [B, T, K, N], all in the ego frame.

  Agents that are not there at t have no forecast. "miss": no mode ends within MISS_M of the last known point.
  """
  mask = mask_BxTxKxF & present_BxTxK[..., None]
  metrics = imitation.trajectory(futures_BxTxKxFx2, mask, mean, scale, logits, kind)
  steps = mask.shape[-1]
  last = jnp.where(mask, jnp.arange(steps)[None, None, None], -1).max(-1)
  at = jnp.maximum(last, 0)[..., None, None]
  end = jnp.take_along_axis(futures_BxTxKxFx2, at, axis=-2)
  ends = jnp.take_along_axis(mean, at[..., None, :, :], axis=-2)
  known = last >= 0
  apart = jnp.where(known, jnp.linalg.norm(ends - end[..., None, :, :], axis=-1)[..., 0].min(-1), 0)
  count = known.sum((1, 2)).astype(jnp.float32)
  return metrics | {
    "minFDE": (apart.sum((1, 2)), count),
    "miss": ((apart > MISS_M).sum((1, 2)).astype(jnp.float32), count),
  }
