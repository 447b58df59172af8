"""Uncertainty: spreads that are right, too small or all alike, as counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation import split_metrics
from objectives import uncertainty


def _circles(stated):
  """Misses of points with spreads 0.5 to 2 m that are known, under stated spreads: summed metrics."""
  keys = jax.random.split(jax.random.key(0), 2)
  true = jax.random.uniform(keys[0], (2, 40_000), minval=0.5, maxval=2.0)
  miss = true * jax.random.gamma(keys[1], 2.0, true.shape)  # d exp(-d / s) / s^2: that density over circles
  found = uncertainty.circles(miss, stated(true), jnp.ones_like(miss, bool))
  entropy = float((2 + jnp.log(2 * jnp.pi * true**2)).mean())
  return jax.tree.map(lambda x: np.asarray(x.sum(0)), found), entropy


def _calibration_error(found) -> float:
  """As evaluation tells it."""
  stated = {"x_stated": tuple(value[None] for value in found["stated"])}
  return split_metrics.means(stated, np.ones(1, bool))["x_calibration_error"]


def test_circles_of_true_spreads_are_calibrated_and_cost_the_entropy():
  found, entropy = _circles(lambda true: true)
  mean = {name: total / count for name, (total, count) in found.items()}
  assert mean["loss"] == pytest.approx(entropy, abs=0.02)
  assert mean["covered_50"] == pytest.approx(0.5, abs=0.01)
  assert mean["covered_90"] == pytest.approx(0.9, abs=0.01)
  np.testing.assert_allclose(mean["stated"], 1 / uncertainty.BINS, atol=0.01)
  assert _calibration_error(found) < 0.01


def test_circles_that_are_too_small_or_all_alike_are_found_out():
  right, _ = _circles(lambda true: true)
  for stated in (lambda true: 0.5 * true, lambda true: jnp.full_like(true, true.mean())):
    found, _ = _circles(stated)
    assert found["loss"][0] > right["loss"][0] + 0.05 * right["loss"][1]
    assert _calibration_error(found) > 3 * _calibration_error(right)
  small, _ = _circles(lambda true: 0.5 * true)
  # 0.9 is stated for 3.8897 of the stated spread, 1.9449 of the true one.
  wanted = 1 - (1 + 1.9449) * np.exp(-1.9449)
  assert small["covered_90"][0] / small["covered_90"][1] == pytest.approx(wanted, abs=0.01)


def test_circles_of_unknown_points_do_not_count():
  miss, mask = jnp.array([[1.0, jnp.nan]]), jnp.array([[True, False]])
  found = uncertainty.circles(miss, jnp.ones((1, 2)), mask)
  assert float(found["loss"][0][0]) == pytest.approx(1 + np.log(2 * np.pi))
  assert all(float(count.max()) == 1 for _, count in found.values())
