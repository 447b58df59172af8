"""Sums and counts against plain loops, and what has no mean."""

import jax.numpy as jnp
import numpy as np

from objectives import metrics

RNG = np.random.default_rng(0)
VALUES, WEIGHTS = RNG.normal(size=(5, 3, 2)).astype(np.float32), RNG.random((5, 3, 2)).astype(np.float32)
DOMAIN = np.array([0, 2, 0, 2, 2], np.uint8)


def test_a_weighted_sum_is_the_sum_over_records_and_over_domains():
  per_record = [(v * w).sum() for v, w in zip(VALUES, WEIGHTS, strict=True)]
  sums_B, counts_B = metrics.by_sample(VALUES, jnp.asarray(WEIGHTS))
  np.testing.assert_allclose(sums_B, per_record, rtol=1e-5)
  np.testing.assert_allclose(counts_B, WEIGHTS.sum((1, 2)), rtol=1e-5)
  total, count = metrics.weighted(VALUES, jnp.asarray(WEIGHTS))
  np.testing.assert_allclose([total, count], [sum(per_record), WEIGHTS.sum()], rtol=1e-5)
  sums, counts = metrics.by_domain(VALUES, jnp.asarray(WEIGHTS), DOMAIN, 4)
  expected = [sum(v for v, d in zip(per_record, DOMAIN, strict=True) if d == g) for g in range(4)]
  np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(counts, [WEIGHTS[g == DOMAIN].sum() for g in range(4)], rtol=1e-5)


def test_a_boolean_weight_leaves_records_out():
  real = jnp.array([True, False, True, True, False])
  sums, counts = metrics.by_domain(jnp.arange(5.0), real, DOMAIN, 3)
  np.testing.assert_array_equal(sums, [2.0, 0.0, 3.0])
  np.testing.assert_array_equal(counts, [2.0, 0.0, 1.0])


def test_means_are_taken_after_adding_and_codebook_statistics_have_none():
  parts = [
    {"loss": (np.float32(6), np.float32(2)), "codes": (np.ones((4, 3)), np.ones(4))},
    {"loss": (np.float32(0), np.float32(4)), "codes": (np.ones((4, 3)), np.ones(4))},
  ]
  assert metrics.reduce(parts) == {"loss": 1.0}
