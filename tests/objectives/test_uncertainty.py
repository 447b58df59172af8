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
