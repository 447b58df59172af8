"""Variable projection: the true cell is the best one, and no coefficient is negative."""

import numpy as np
import pytest

from scaling.fitting import projection


def test_true_exponents_are_the_first_start():
  x = np.linspace(0, 6, 40)
  axis = np.linspace(0.1, 1.5, 15)
  loss = 2.0 * np.exp(-0.3 * x) + 0.5 * np.exp(-1.2 * x) + 1.0

  def terms(exponents):
    one = np.ones((len(exponents), len(x)))
    return np.stack([np.exp(-exponents[:, :1] * x), np.exp(-exponents[:, 1:] * x), one], -1)

  exponents, coefficients, errors = projection.starts(terms, (axis, axis), loss, 4)
  assert sorted(exponents[0]) == pytest.approx([0.3, 1.2])
  assert sorted(coefficients[0]) == pytest.approx([0.5, 1.0, 2.0], rel=1e-4)
  assert errors[0] < 1e-8 and (np.diff(errors) >= 0).all()
  cells = np.round((exponents - 0.1) / 0.1)
  away = np.abs(cells[:, None] - cells[None]).max(-1) + 9 * np.eye(4)
  assert away.min() >= 2


def test_negative_coefficients_are_left_out():
  """y = 1 - x / 10 wants a negative slope: the best without one is the mean."""
  x = np.linspace(1, 2, 9)
  design = np.stack([x, np.ones(9)], -1)[None]
  coefficients, errors = projection.non_negative(design, 1 - x / 10)
  assert coefficients[0] == pytest.approx([0, 0.85])
  assert errors[0] == pytest.approx(np.square(1 - x / 10 - 0.85).sum())
  free, _ = projection.non_negative(design, 1 + x / 10)
  assert free[0] == pytest.approx([0.1, 1])
