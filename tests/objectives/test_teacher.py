"""The moving average, against its closed form and the schedule's ends."""

import jax.numpy as jnp
import numpy as np
import pytest

from objectives import teacher


def test_average_after_n_steps_is_the_closed_form():
  rng = np.random.default_rng(0)
  students = rng.normal(size=(20, 5)).astype(np.float32)
  first = rng.normal(size=5).astype(np.float32)
  m, followed = 0.9, {"w": jnp.asarray(first), "deep": [jnp.zeros(2)]}
  for s in students:
    followed = teacher.follow(followed, {"w": jnp.asarray(s), "deep": [jnp.ones(2)]}, m)
  weights = (1 - m) * m ** np.arange(19, -1, -1.0)
  np.testing.assert_allclose(followed["w"], m**20 * first + weights @ students, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(followed["deep"][0], 1 - m**20, rtol=1e-5)


def test_teacher_stays_in_float32_behind_a_bfloat16_student():
  followed = teacher.follow({"w": jnp.ones(3)}, {"w": jnp.zeros(3, jnp.bfloat16)}, 0.999)
  assert followed["w"].dtype == jnp.float32
  np.testing.assert_allclose(followed["w"], 0.999, rtol=1e-6)


def test_momentum_rises_by_a_cosine_to_one():
  assert float(teacher.momentum(0.996, 0, 100)) == pytest.approx(0.996)
  assert float(teacher.momentum(0.996, 50, 100)) == pytest.approx(0.998, abs=1e-6)
  assert float(teacher.momentum(0.996, 100, 100)) == 1.0
  assert float(teacher.momentum(0.996, 500, 100)) == 1.0
