"""What flow matching and diffusion share: data are blurred with noise at random times, a model answers.

  x, answer = corrupt(time, data, noise)      loss = E | model(x, time, context) - answer |^2

The error counts only where data are known; unknown vectors travel as data 0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives import draws, metrics


def make_loss(apply: Callable, target: Callable, corrupt: Callable, domains: int):
  """Returns loss_fn(params, batch, key) -> {name: (sum, count)}; "loss" is the squared error per number.

  Args:
    apply: apply({"params": params}, batch, x, time_B) -> answer of x's shape.
    target: target(batch) -> (data [B, ..., C] of about unit scale, mask [B, ...] of its known vectors).
    corrupt: (time_B in [0, 1), data, noise) -> (x, answer, the time_B that the model is told).
    domains: length of "by_domain".
  """

  def loss_fn(params, batch, key) -> metrics.Metrics:
    data, mask = target(batch)
    known = jnp.broadcast_to(mask[..., None], data.shape) & over_batch(batch["real_B"], data)
    time_key, noise_key = jax.random.split(key)
    noise = draws.normal(noise_key, batch, data)
    x, answer, time_B = corrupt(draws.times(time_key, batch), jnp.where(known, data, 0), noise)
    error = jnp.where(known, apply({"params": params}, batch, x, time_B) - answer, 0) ** 2
    weight = known * over_batch(metrics.record_weights(batch), data)
    loss = metrics.weighted(error, weight)
    slices = metrics.by_domain(error, weight, batch["domain_B"], domains)
    return {"objective": loss, "loss": loss, "by_domain": slices}

  return loss_fn


def over_batch(value_B: jax.Array, like: jax.Array) -> jax.Array:
  """value_B as [B, 1, ...], of the rank of `like`."""
  return value_B.reshape((-1,) + (1,) * (like.ndim - 1))
