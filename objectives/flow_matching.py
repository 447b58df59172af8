"""Conditional flow matching: a velocity field that carries noise to data along straight lines.

With noise x0 ~ N(0, 1), data x1, time t in [0, 1] and a last spread s (`sigma_min`),

  x_t = (1 - (1 - s) t) x0 + t x1        the optimal-transport path
  u   = x1 - (1 - s) x0                  its velocity, given x1
  loss = E | v(x_t, t, context) - u |^2

The minimiser is E[u | x_t], whose flow dx/dt = v carries the noise to the data's distribution: a sample is the
end of that flow. Y. Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023, arXiv:2210.02747.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives import denoising


def interpolate(time_B: jax.Array, data: jax.Array, noise: jax.Array, sigma_min: float):
  """(x_t, u) of the path from noise [B, ...] to data [B, ...] at time_B."""
  t = denoising.over_batch(time_B, data)
  return (1 - (1 - sigma_min) * t) * noise + t * data, data - (1 - sigma_min) * noise


def make_loss(apply: Callable, target: Callable, sigma_min: float, domains: int):
  """loss_fn(params, batch, key) as in `denoising.make_loss`; `apply` answers with the velocity."""

  def corrupt(time_B, data, noise):
    return *interpolate(time_B, data, noise, sigma_min), time_B

  return denoising.make_loss(apply, target, corrupt, domains)


def sample(velocity: Callable, noise: jax.Array, steps: int, method: str) -> jax.Array:
  """The flow from noise [B, ...] at time 0 to time 1: velocity(x, time_B) -> dx/dt.

  Args: method: "euler" (error of order 1 / steps, one call a step) or "heun" (1 / steps^2, two calls).
  """

  def euler(x, time):
    return x + velocity(x, jnp.full(len(x), time)) / steps

  def heun(x, time):
    first = velocity(x, jnp.full(len(x), time))
    second = velocity(x + first / steps, jnp.full(len(x), time + 1 / steps))
    return x + (first + second) / (2 * steps)

  step = {"euler": euler, "heun": heun}[method]
  return jax.lax.scan(lambda x, time: (step(x, time), None), noise, jnp.arange(steps) / steps)[0]
