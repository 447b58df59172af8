"""Sensor dropout: clips are shown with some of their sensors missing, so that a model learns to do without.

Each sensor is dropped on its own, but never the last one. N. Neverova et al., ModDrop, arXiv:1501.00102.
"""

import jax
import jax.numpy as jnp


def drop_sensors(key: jax.Array, sensed_BxM: jax.Array, rate: float) -> jax.Array:
  """bool [B, M]: of the sensors that a clip has, each stays with probability 1 - rate.

  A clip that would lose all keeps one of them, each as likely as the others. One that has none keeps none.
  """
  drop_key, last_key = jax.random.split(key)
  kept = sensed_BxM & jax.random.bernoulli(drop_key, 1 - rate, sensed_BxM.shape)
  lot = jnp.where(sensed_BxM, jax.random.uniform(last_key, sensed_BxM.shape), -1)
  last = sensed_BxM & (jnp.arange(lot.shape[1])[None] == lot.argmax(1)[:, None])
  return jnp.where(kept.any(1, keepdims=True), kept, last)
