"""The descent in NumPy: its derivatives are JAX's, its outcome is the solver's, and a rank of zero stops nothing."""

import jax
import numpy as np
import pytest

from scaling.fitting import descent, parametric, solver
from scaling.laws import hoffmann
from tests.scaling.surface import DRIVING


def table(noise: float):
  params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e3, 1e6, 6), np.geomspace(1e5, 1e8, 5)))
  jitter = np.exp(noise * np.random.default_rng(0).standard_normal(len(params)))
  n, d = np.log(params), np.log(tokens)
  return (n - n.mean(), d - d.mean()), np.log(DRIVING.loss(params, tokens) * jitter)


def test_derivatives_are_those_of_the_compiled_law():
  columns, _ = table(0.0)
  thetas = np.array([[0.1, -0.4, -0.2, 0.4, 0.42], [1.0, 0.5, -3.0, 0.1, 0.9]])
  pull = np.random.default_rng(1).standard_normal((2, 30))
  jacobian, bend = hoffmann.derivatives(thetas, columns)
  for k, theta in enumerate(thetas):
    value, expected = solver.linearise(hoffmann.log_loss, columns, theta)
    assert hoffmann.log_losses(thetas, columns)[k] == pytest.approx(value, rel=1e-12)
    assert jacobian[k] == pytest.approx(expected, abs=1e-12)
    with jax.enable_x64(True):
      hessian = jax.hessian(lambda t, p=pull[k]: (p * hoffmann.log_loss(t, columns)).sum())(theta)
    assert bend(pull)[k] == pytest.approx(np.asarray(hessian), abs=1e-11)


@pytest.mark.parametrize("kind", solver.KINDS)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_outcome_is_the_solvers(kind, noise):
  columns, target = table(noise)
  low, high = np.array([-9, -9, -12, 0.01, 0.01]), np.array([9, 9, 9, 4, 4.0])
  starts = parametric.starts(*columns, target, 6)
  ours = solver.minimise_uncompiled(
    hoffmann.log_losses, hoffmann.derivatives, columns, target, starts, kind, low, high
  )
  compiled = solver.minimise(hoffmann.log_loss, columns, target, starts, kind, low, high)
  assert ours.theta == pytest.approx(compiled.theta, rel=1e-6, abs=1e-7)
  assert ours.objective == pytest.approx(compiled.objective, rel=1e-9, abs=1e-13)
  assert ours.agreeing == compiled.agreeing


def test_bounds_hold():
  columns, target = table(0.02)
  low, high = np.array([-9, -9, -12, 0.5, 0.01]), np.array([9, 9, 9, 4, 4.0])
  starts = parametric.starts(*columns, target, 3)
  ours = solver.minimise_uncompiled(
    hoffmann.log_losses, hoffmann.derivatives, columns, target, starts, "mse", low, high
  )
  compiled = solver.minimise(hoffmann.log_loss, columns, target, starts, "mse", low, high)
  assert ours.theta[3] == 0.5 and ours.theta == pytest.approx(compiled.theta, rel=1e-6)


def test_a_law_that_the_table_says_nothing_of_stays_where_it_is():
  """All derivatives are zero: the matrices are singular, and the start is as good as any."""

  def nothing(theta, columns):
    return np.zeros((len(theta), len(columns[0])))

  def flat(theta, columns):
    jacobian = np.zeros((len(theta), len(columns[0]), 2))
    return jacobian, lambda pull: np.zeros((len(theta), 2, 2))

  free = np.full(2, np.inf)
  starts = np.array([[1.0, 2.0]])
  theta, value, deviation = descent.lanes(
    nothing, flat, (np.ones(3),), np.ones(3), starts, np.inf, -free, free, solver.RULES
  )
  assert theta.tolist() == [[1.0, 2.0]] and value == pytest.approx(1.5) and deviation == pytest.approx(3.0)
