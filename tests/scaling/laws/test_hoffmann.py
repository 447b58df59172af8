"""Hoffmann's law: its optimum is where the derivative vanishes, and its pieces say the same thing."""

import numpy as np
import pytest

from scaling.laws.hoffmann import Law, log_loss

LAW = Law(1.69, 406.4, 410.7, 0.336, 0.283)


def test_optimum_in_all_its_forms():
  flops = 5.76e23
  params, tokens = LAW.optimum(flops)
  assert 6 * params * tokens == pytest.approx(flops)
  gained = LAW.alpha * LAW.A * params**-LAW.alpha, LAW.beta * LAW.B * tokens**-LAW.beta
  assert gained[0] == pytest.approx(gained[1])  # d/dN = 0 along the budget
  assert LAW.optimal_params(tokens) == pytest.approx(params)
  assert LAW.least_loss(flops) == pytest.approx(LAW.loss(params, tokens))
  assert LAW.optimum(10 * flops)[0] / params == pytest.approx(10**LAW.a) and LAW.a + LAW.b == pytest.approx(1)


def test_log_loss_is_the_log_of_the_loss():
  theta = np.log(LAW.A), np.log(LAW.B), np.log(LAW.E), LAW.alpha, LAW.beta
  n, d = np.log([1e8, 1e10]), np.log([1e10, 1e12])
  assert np.asarray(log_loss(theta, (n, d))) == pytest.approx(
    np.log(LAW.loss(np.exp(n), np.exp(d))), rel=1e-6
  )
