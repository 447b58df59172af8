"""Diffusion: forward marginals, the answer, samplers with the exact score of a Gaussian, two modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import diffusion
from tests.objectives import two_modes

MEAN, SPREAD, STEPS = 1.5, 0.4, 200


def test_the_schedule_falls_from_one_to_nothing_as_the_cosine():
  signal = diffusion.cosine_schedule(1000)
  assert float(signal[0]) == 1
  assert float(signal[-1]) < 1e-6
  assert bool((jnp.diff(signal) < 0).all())
  middle = np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
  assert float(signal[500]) == pytest.approx(middle, rel=1e-4)


def test_forward_marginals():
  """x_n has mean sqrt(a) mu and variance a s^2 + 1 - a."""
  signal = diffusion.cosine_schedule(10)[4]
  data = MEAN + SPREAD * jax.random.normal(jax.random.key(0), (200_000,))
  x = diffusion.blur(data, jax.random.normal(jax.random.key(1), data.shape), signal)
  assert float(x.mean()) == pytest.approx(float(jnp.sqrt(signal)) * MEAN, abs=0.01)
  assert float(x.var()) == pytest.approx(float(signal * SPREAD**2 + 1 - signal), rel=0.01)


def test_the_answer_separates_data_from_noise():
  data, noise = jax.random.normal(jax.random.key(0), (2, 6))
  signal = jnp.float32(0.37)
  v = diffusion.velocity(data, noise, signal)
  np.testing.assert_allclose(
    diffusion.separate(v, diffusion.blur(data, noise, signal), signal), data, atol=1e-6
  )


def _gaussian_answer(schedule):
  """E[v | x_n] for data N(MEAN, SPREAD^2): linear in x."""

  def answer(x, time_B):
    signal = schedule[jnp.round(time_B * (len(schedule) - 1)).astype(jnp.int32)][:, None]
    gain = (x - jnp.sqrt(signal) * MEAN) / (signal * SPREAD**2 + 1 - signal)
    data, noise = MEAN + jnp.sqrt(signal) * SPREAD**2 * gain, jnp.sqrt(1 - signal) * gain
    return diffusion.velocity(data, noise, signal)

  return answer


def test_ddim_with_the_exact_score_gives_the_gaussian():
  """The deterministic sampler is affine in the noise: two points tell its mean and its spread."""
  schedule = diffusion.cosine_schedule(STEPS)
  ends = diffusion.sample(
    _gaussian_answer(schedule),
    jnp.array([[0.0], [1.0]]),
    jax.random.split(jax.random.key(0)),
    schedule,
    steps=STEPS,
    eta=0.0,
    bound=jnp.inf,
  )[:, 0]
  assert float(ends[0]) == pytest.approx(MEAN, rel=0.02)
  assert float(ends[1] - ends[0]) == pytest.approx(SPREAD, rel=0.02)


def test_ddpm_with_the_exact_score_gives_the_gaussian():
  schedule = diffusion.cosine_schedule(STEPS)
  noise = jax.random.normal(jax.random.key(0), (20_000, 1))
  ends = diffusion.sample(
    _gaussian_answer(schedule),
    noise,
    jax.random.split(jax.random.key(1), len(noise)),
    schedule,
    STEPS,
    eta=1.0,
    bound=jnp.inf,
  )
  assert float(ends.mean()) == pytest.approx(MEAN, abs=0.02)
  assert float(ends.std()) == pytest.approx(SPREAD, rel=0.04)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_known_data_are_reached_exactly_in_any_number_of_steps(eta):
  schedule = diffusion.cosine_schedule(STEPS)
  data = jnp.array([[0.3, -2.0]])

  def answer(x, time_B):
    signal = schedule[jnp.round(time_B * STEPS).astype(jnp.int32)][:, None]
    noise = (x - jnp.sqrt(signal) * data) / jnp.sqrt(1 - signal)
    return diffusion.velocity(data, noise, signal)

  ends = diffusion.sample(
    answer,
    jnp.ones((1, 2)),
    jax.random.split(jax.random.key(0), 1),
    schedule,
    steps=3,
    eta=eta,
    bound=2.0,
  )
  np.testing.assert_allclose(ends, data, atol=1e-5)


def test_two_modes_are_recovered_with_their_weights():
  """Of every one of three seeds. (Networks that answer with the noise: 0.271 of one seed by DDIM.)"""
  schedule = diffusion.cosine_schedule(STEPS)
  params = two_modes.train_seeds(
    lambda apply, target: diffusion.make_loss(apply, target, schedule, 1), seeds=3, hidden=64
  )
  noise = jax.random.normal(jax.random.key(1), (16384, two_modes.POINTS, 2))
  keys = jax.random.split(jax.random.key(2), len(noise))
  for eta in (0.0, 1.0):  # DDIM, DDPM

    def draw(params, eta=eta):
      return diffusion.sample(two_modes.answer(params), noise, keys, schedule, 50, eta, bound=1.5)

    for samples in jax.vmap(draw)(params):
      left, near = two_modes.modes(samples)
      assert left == pytest.approx(two_modes.LEFT, rel=0.05)
      assert near > 0.95
