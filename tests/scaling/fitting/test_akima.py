"""Akima's interpolation against SciPy's, and the minimum between points."""

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator

from scaling.fitting import akima


def test_curve_is_scipys():
  rng = np.random.default_rng(0)
  x, y = np.sort(rng.normal(size=9)), rng.normal(size=(4, 9))
  at = np.linspace(x[0], x[-1], 77)
  assert akima.curve(x, y, at) == pytest.approx(Akima1DInterpolator(x, y.T)(at).T, abs=1e-13)
  assert akima.curve(x, y, x) == pytest.approx(y, abs=1e-13)


def test_minimum_of_a_parabola_is_its_vertex():
  """Through points of a parabola the inner slopes are exact, and so is the curve between them."""
  x = np.array([-3.0, -2.0, -0.6, 0.9, 2.1, 3.0])
  y = np.stack([(x - 0.2) ** 2 + 1, 2 * (x + 0.5) ** 2 - 3])
  at, lowest = akima.minimum(x, y)
  exact = [minimise(x, row) for row in y]
  assert at == pytest.approx([e[0] for e in exact], abs=2e-3)
  assert lowest == pytest.approx([e[1] for e in exact], abs=1e-5)


def minimise(x, y):
  fine = np.linspace(x[0], x[-1], 200_001)
  values = Akima1DInterpolator(x, y)(fine)
  return fine[values.argmin()], values.min()


def test_ends_stay_ends():
  x = np.arange(5.0)
  at, lowest = akima.minimum(x, np.stack([x, -x]))
  assert at.tolist() == [0, 4] and lowest.tolist() == [0, -4]
