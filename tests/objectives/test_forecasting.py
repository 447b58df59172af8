"""Forecasts: the last known point, misses, agents that are not there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import forecasting


def test_the_end_is_the_last_known_point_and_a_miss_is_counted():
  future = jnp.zeros((1, 1, 2, 3, 2)).at[..., 0].add(jnp.array([1.0, 2.0, 99.0])[None, None, None])
  mask = jnp.array([[[[True, True, False], [True, True, True]]]])
  mean = jnp.zeros((1, 1, 2, 2, 3, 2)).at[..., 0].add(jnp.array([1.0, 3.5, 0.0])[None, None, None, None])
  mean = mean.at[:, :, :, 1].add(50.0)
  there, even = jnp.ones((1, 1, 2), bool), jnp.zeros((1, 1, 2, 2))
  found = forecasting.loss(future, mask, there, mean, jnp.ones_like(mean), even, "laplace")
  ends = [1.5, np.hypot(49.0, 50.0)]  # of the first agent at 3.5 for 2; of the second the other mode
  assert float(found["minFDE"][0][0]) == pytest.approx(sum(ends), rel=1e-5)
  assert (float(found["miss"][0][0]), float(found["miss"][1][0])) == (1, 2)


def test_agents_that_are_not_there_have_no_forecast():
  future = jax.random.normal(jax.random.key(0), (1, 1, 2, 3, 2))
  mask, present = jnp.ones((1, 1, 2, 3), bool), jnp.array([[[True, False]]])
  mean = jax.random.normal(jax.random.key(1), (1, 1, 2, 4, 3, 2))

  def loss(mean):
    found = forecasting.loss(
      future, mask, present, mean, jnp.ones_like(mean), jnp.zeros((1, 1, 2, 4)), "laplace"
    )
    return found["loss"][0].sum(), found

  slope, found = jax.grad(loss, has_aux=True)(mean)
  np.testing.assert_array_equal(slope[:, :, 1], 0)
  assert float(found["minADE"][1][0]) == 1
