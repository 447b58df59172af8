"""Likelihoods that several objectives share, element by element, in nats."""

import jax
import jax.numpy as jnp

NEVER = -1e9  # a logit of probability 0, which -inf would be without a gradient


def cross_entropy(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(- log softmax(logits)[label], log of the softmax's normaliser) of logits [..., V], labels [...] int."""
  normaliser = jax.nn.logsumexp(logits, axis=-1)
  chosen = jnp.take_along_axis(logits, labels.astype(jnp.int32)[..., None], axis=-1)[..., 0]
  return normaliser - chosen, normaliser


def log_density(error: jax.Array, scale: jax.Array, kind: str) -> jax.Array:
  """log p(error) for "gaussian" (scale = sigma) or "laplace" (scale = b)."""
  if kind == "gaussian":
    return -0.5 * (error / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2 * jnp.pi)
  return -jnp.abs(error) / scale - jnp.log(2 * scale)
