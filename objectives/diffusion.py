"""Denoising diffusion: data are blurred step by step, and a model learns to take the noise out again.

Forward, for n = 0 .. N with signal share a_n falling from 1 to nearly 0, and eps ~ N(0, 1):

  x_n = sqrt(a_n) x_0 + sqrt(1 - a_n) eps

The model predicts v = sqrt(a_n) eps - sqrt(1 - a_n) x_0, which means x_0' = sqrt(a_n) x_n - sqrt(1 - a_n) v.
Of a predicted eps, x_0' would have the error over sqrt(a_n): at the end where nearly all is noise, and samples choose
their mode, it would be error alone, which the loss of eps does not weigh (S. Lin et al., arXiv:2305.08891). A step back
from n to m < n, with z ~ N(0, 1):

  x_m = sqrt(a_m) x_0' + sqrt(1 - a_m - s^2) eps' + s z,      eps' = (x_n - sqrt(a_n) x_0') / sqrt(1 - a_n)
  s   = eta sqrt((1 - a_m) / (1 - a_n)) sqrt(1 - a_n / a_m)

eta = 1 over all steps is the DDPM sampler, eta = 0 the deterministic DDIM over any steps.
J. Ho et al., arXiv:2006.11239; J. Song et al. (DDIM), arXiv:2010.02502; A. Nichol, P. Dhariwal (cosine
schedule), arXiv:2102.09672; T. Salimans, J. Ho (v), arXiv:2202.00512.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives import denoising

OFFSET = 0.008  # of the cosine schedule: a first step that is not too small
LARGEST_BETA = 0.999  # both of arXiv:2102.09672


def cosine_schedule(steps: int) -> jax.Array:
  """a_0 .. a_N (float32 [steps + 1]): a_n = prod (1 - beta), beta from cos^2 and at most LARGEST_BETA."""
  at = jnp.arange(steps + 1) / steps
  ideal = jnp.cos((at + OFFSET) / (1 + OFFSET) * jnp.pi / 2) ** 2
  beta = jnp.minimum(1 - ideal[1:] / ideal[:-1], LARGEST_BETA)
  return jnp.concatenate([jnp.ones(1), jnp.cumprod(1 - beta)])


def blur(data: jax.Array, noise: jax.Array, signal: jax.Array) -> jax.Array:
  """x_n of data with signal share a_n, which broadcasts against it."""
  return jnp.sqrt(signal) * data + jnp.sqrt(1 - signal) * noise


def velocity(data: jax.Array, noise: jax.Array, signal: jax.Array) -> jax.Array:
  """v, what the model should say of blur(data, noise, signal)."""
  return jnp.sqrt(signal) * noise - jnp.sqrt(1 - signal) * data


def separate(v: jax.Array, x: jax.Array, signal: jax.Array) -> jax.Array:
  """x_0', the data that the answer v at x means."""
  return jnp.sqrt(signal) * x - jnp.sqrt(1 - signal) * v


def make_loss(apply: Callable, target: Callable, schedule: jax.Array, domains: int):
  """loss_fn(params, batch, key) as in `denoising.make_loss`; `apply` answers with v, told the time n / N in (0, 1].

  Args: schedule: a_0 .. a_N.
  """
  total = len(schedule) - 1

  def corrupt(time_B, data, noise):
    step_B = 1 + jnp.floor(time_B * total).astype(jnp.int32)
    signal = denoising.over_batch(schedule[step_B], data)
    return blur(data, noise, signal), velocity(data, noise, signal), step_B / total

  return denoising.make_loss(apply, target, corrupt, domains)


def sample(
  answer: Callable,
  noise: jax.Array,
  key_B: jax.Array,
  schedule: jax.Array,
  steps: int,
  eta: float,
  bound: float,
) -> jax.Array:
  """From noise [B, ...] back to data in `steps` of the schedule's N: answer(x, time_B) -> v.

  Args: key_B: of each sample. bound: the largest |x_0'|.
  """
  total = len(schedule) - 1
  visited = jnp.round(jnp.linspace(total, 0, steps + 1)).astype(jnp.int32)

  def back(x, step):
    n, m = step
    now, then = schedule[n], schedule[m]
    data = jnp.clip(separate(answer(x, jnp.full(len(x), n / total)), x, now), -bound, bound)
    eps = (x - jnp.sqrt(now) * data) / jnp.sqrt(1 - now)
    spread = eta * jnp.sqrt((1 - then) / (1 - now) * (1 - now / then))
    fresh = spread * jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, n), x.shape[1:]))(key_B)
    return jnp.sqrt(then) * data + jnp.sqrt(jnp.maximum(1 - then - spread**2, 0)) * eps + fresh, None

  return jax.lax.scan(back, noise, (visited[:-1], visited[1:]))[0]
