"""Expected errors: derivatives by differences, what repeats and rays do, and refits of simulated tables."""

import dataclasses

import numpy as np
import pytest

from scaling.advice import allocation, information
from scaling.fitting import parametric
from scaling.laws.hoffmann import Law
from tests.scaling import ladder

NAMES = ("E", "alpha", "beta", "a", "b")
PARAMS, TOKENS = (v.ravel() for v in np.meshgrid(np.geomspace(2e3, 2e5, 5), np.geomspace(1e6, 1e8, 4)))
POINT = np.array([1e6]), np.array([1e9])


def test_the_jacobian_is_that_of_the_law():
  middle = 9.0, 15.0
  rows = information.jacobian(ladder.LAW, PARAMS, TOKENS, middle)

  def log_loss(theta):
    a, b, e, alpha, beta = theta
    law = Law(np.exp(e), np.exp(a + alpha * middle[0]), np.exp(b + beta * middle[1]), alpha, beta)
    return np.log(law.loss(PARAMS, TOKENS))

  law = ladder.LAW
  theta = np.array([
    np.log(law.A) - law.alpha * 9.0, np.log(law.B) - law.beta * 15.0, np.log(law.E), law.alpha, law.beta
  ])  # fmt: skip
  for k, step in enumerate(1e-5 * np.eye(5)):
    assert rows[:, k] == pytest.approx(
      (log_loss(theta + step) - log_loss(theta - step)) / 2e-5, rel=1e-6, abs=1e-9
    )


def test_four_times_the_runs_halve_every_error():
  one = information.expect(ladder.LAW, PARAMS, TOKENS, 0.01, POINT)
  four = information.expect(ladder.LAW, np.tile(PARAMS, 4), np.tile(TOKENS, 4), 0.01, POINT)
  for name in NAMES:
    assert four.errors[name] == pytest.approx(one.errors[name] / 2, rel=1e-6)
  assert four.loss_errors == pytest.approx(one.loss_errors / 2, rel=1e-6)
  assert four.condition == pytest.approx(one.condition, rel=1e-6)
  assert one.errors["a"] == pytest.approx(one.errors["b"], rel=1e-9)  # a + b = 1


def test_units_change_no_error():
  """N in thousands: A changes, nothing that is quoted does."""
  law = dataclasses.replace(ladder.LAW, A=ladder.LAW.A * 1e3**-ladder.LAW.alpha)
  one = information.expect(ladder.LAW, PARAMS, TOKENS, 0.01, POINT)
  other = information.expect(law, PARAMS / 1e3, TOKENS, 0.01, (POINT[0] / 1e3, POINT[1]))
  assert [other.errors[n] for n in NAMES] == pytest.approx([one.errors[n] for n in NAMES], rel=1e-6)
  assert other.loss_errors == pytest.approx(one.loss_errors, rel=1e-6)


def test_a_ray_under_equal_exponents_settles_nothing():
  law = dataclasses.replace(ladder.LAW, beta=ladder.LAW.alpha)
  found = information.expect(law, PARAMS, 20 * PARAMS, 0.01, POINT)
  assert all(np.isinf(found.errors[name]) for name in NAMES) and np.isinf(found.loss_errors).all()


def test_refits_of_simulated_tables_scatter_as_expected():
  """400 tables of little noise: their standard deviations lie within 15 % (4 sigma) of the closed form."""
  sd, draws, at = 0.001, 400, allocation.for_budget(ladder.LAW, ladder.motion(), 1e13)
  expected = information.expect(
    ladder.LAW, PARAMS, TOKENS, sd, (np.array([at.params]), np.array([at.tokens]))
  )
  loss = ladder.LAW.loss(PARAMS, TOKENS)
  tables = loss * np.exp(sd * np.random.default_rng(0).standard_normal((draws, len(loss))))
  refits = parametric.fit(PARAMS, TOKENS, loss, "mse", losses=tables).draws
  assert refits is not None
  for name in NAMES:
    assert np.std(getattr(refits, name), ddof=1) == pytest.approx(expected.errors[name], rel=0.15)
  spread = np.std(np.log(refits.loss(at.params, at.tokens)), ddof=1)
  assert spread == pytest.approx(expected.loss_errors[0], rel=0.15)
