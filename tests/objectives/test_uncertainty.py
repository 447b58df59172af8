"""Uncertainty: the best spread, calibration of forecasts that are right or over-confident, as counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import uncertainty


def test_the_likelihood_is_best_at_the_true_spread():
  error = 2.0 * jax.random.normal(jax.random.key(0), (1, 20_000))
  mask = jnp.ones_like(error, bool)

  def nats(spread):
    total, count = uncertainty.gaussian(error, jnp.full_like(error, spread), mask)["loss"]
    return float((total / count)[0])

  assert nats(2.0) == pytest.approx(0.5 * np.log(2 * np.pi * np.e * 4), rel=0.01)
  assert nats(2.0) < min(nats(1.7), nats(2.3))


def test_calibration_of_true_and_of_overconfident_statements():
  stated = jax.random.uniform(jax.random.key(0), (2, 40_000))
  true = jax.random.uniform(jax.random.key(1), stated.shape) < stated
  mask = jnp.ones_like(true)

  def error(stated):
    sums, counts = uncertainty.calibration(stated, true, mask, 10)
    assert float(counts.sum()) == stated.size
    return float(uncertainty.expected_calibration_error(sums.sum(0), counts.sum(0)))

  assert error(stated) < 0.01
  # Statements 0 or 1 are wrong by min(p, 1 - p) each: 1 / 4 on average.
  assert error(jnp.round(stated)) == pytest.approx(0.25, abs=0.01)


def test_coverage_of_right_and_of_narrow_spreads():
  error = jax.random.normal(jax.random.key(0), (1, 40_000))
  mask = jnp.ones_like(error, bool)
  share = [
    np.asarray(total / count)[0]
    for total, count in (uncertainty.coverage(error, jnp.full_like(error, s), mask, 4) for s in (1.0, 0.5))
  ]
  np.testing.assert_allclose(share[0], [0.25, 0.5, 0.75], atol=0.01)
  assert (share[1] < share[0] - 0.1).all()


def test_unknown_errors_do_not_count():
  error, mask = jnp.array([[1.0, jnp.nan]]), jnp.array([[True, False]])
  found = uncertainty.gaussian(error, jnp.ones((1, 2)), mask)
  assert float(found["loss"][1][0]) == 1
  assert float(found["loss"][0][0]) == pytest.approx(0.5 + 0.5 * np.log(2 * np.pi))
  total, count = uncertainty.coverage(error, jnp.ones((1, 2)), mask, 2)
  assert (float(total[0, 0]), float(count[0, 0])) == (0, 1)


def _circles(stated):
  """Misses of points with spreads 0.5 to 2 m that are known, under stated spreads: summed metrics."""
  keys = jax.random.split(jax.random.key(0), 2)
  true = jax.random.uniform(keys[0], (2, 40_000), minval=0.5, maxval=2.0)
  miss = true * jax.random.gamma(keys[1], 2.0, true.shape)  # d exp(-d / s) / s^2: that density over circles
  found = uncertainty.circles(miss, stated(true), jnp.ones_like(miss, bool))
  entropy = float((2 + jnp.log(2 * jnp.pi * true**2)).mean())
  return jax.tree.map(lambda x: np.asarray(x.sum(0)), found), entropy


def test_circles_of_true_spreads_are_calibrated_and_cost_the_entropy():
  found, entropy = _circles(lambda true: true)
  mean = {name: total / count for name, (total, count) in found.items()}
  assert mean["loss"] == pytest.approx(entropy, abs=0.02)
  assert mean["covered_50"] == pytest.approx(0.5, abs=0.01)
  assert mean["covered_90"] == pytest.approx(0.9, abs=0.01)
  np.testing.assert_allclose(mean["stated"], 1 / uncertainty.BINS, atol=0.01)
  assert float(uncertainty.coverage_error(*found["stated"])) < 0.01


def test_circles_that_are_too_small_or_all_alike_are_found_out():
  right, _ = _circles(lambda true: true)
  for stated in (lambda true: 0.5 * true, lambda true: jnp.full_like(true, true.mean())):
    found, _ = _circles(stated)
    assert found["loss"][0] > right["loss"][0] + 0.05 * right["loss"][1]
    assert uncertainty.coverage_error(*found["stated"]) > 3 * uncertainty.coverage_error(*right["stated"])
  small, _ = _circles(lambda true: 0.5 * true)
  # 0.9 is stated for 3.8897 of the stated spread, 1.9449 of the true one.
  wanted = 1 - (1 + 1.9449) * np.exp(-1.9449)
  assert small["covered_90"][0] / small["covered_90"][1] == pytest.approx(wanted, abs=0.01)


def test_circles_of_unknown_points_do_not_count():
  miss, mask = jnp.array([[1.0, jnp.nan]]), jnp.array([[True, False]])
  found = uncertainty.circles(miss, jnp.ones((1, 2)), mask)
  assert float(found["loss"][0][0]) == pytest.approx(1 + np.log(2 * np.pi))
  assert all(float(count.max()) == 1 for _, count in found.values())
