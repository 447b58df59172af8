"""Monitors: closed forms, weights, and a planted collapse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import collapse

ALL = np.ones(64, np.float32)
monitors = jax.jit(lambda x, weight: collapse.read(collapse.monitors(x, weight)))
effective_rank = jax.jit(lambda x, weight: collapse.effective_rank(collapse.gram(x, weight)))


def _normal(n=64, d=8, seed=0):
  return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_rank_of_orthogonal_directions_is_their_number():
  q = np.linalg.qr(_normal())[0]
  assert float(effective_rank(3 * q, ALL)) == pytest.approx(8, rel=1e-4)
  assert float(effective_rank(q[:, :5] @ np.eye(5, 8), ALL)) == pytest.approx(5, rel=1e-3)


def test_rank_of_a_line_and_of_a_constant_is_one():
  line = np.outer(_normal(64, 1)[:, 0], _normal(1, 8)[0])
  assert float(effective_rank(line, ALL)) == pytest.approx(1, abs=1e-2)
  assert float(effective_rank(np.ones((64, 8)), ALL)) == pytest.approx(1, abs=1e-2)
  assert float(effective_rank(np.zeros((64, 8)), ALL)) == 0


def test_rank_is_the_entropy_of_the_singular_values():
  x = _normal() * np.asarray([5, 3, 2, 1, 1, 0.5, 0.2, 0.1], np.float32)
  sigma = np.linalg.svd(x.astype(np.float64), compute_uv=False)
  p = sigma / sigma.sum()
  assert float(effective_rank(x, ALL)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)


def test_rows_of_weight_zero_are_not_there():
  x, weight = _normal(), ALL.copy()
  weight[40:] = 0
  for measure in (effective_rank, jax.jit(collapse.deviation)):
    part = float(measure(x[:40], ALL[:40]))
    x[40:] = 1e3
    assert float(measure(x, weight)) == pytest.approx(part, rel=1e-5)


def test_deviation_is_numpys():
  x = _normal() * 3 + 7
  assert float(collapse.deviation(x, ALL)) == pytest.approx(x.std(0).mean(), rel=1e-5)


def test_perplexity_of_even_codes_is_their_number():
  assert float(collapse.code_perplexity(jnp.asarray([4, 4, 4, 4, 0, 0]))) == pytest.approx(4, rel=1e-6)
  assert float(collapse.code_perplexity(jnp.asarray([9, 0, 0]))) == pytest.approx(1, rel=1e-6)
  assert float(collapse.code_perplexity(jnp.zeros(3))) == 0


def test_planted_collapse_is_seen_and_costs_no_gradient():
  x = _normal(64, 16)
  healthy = monitors(x, ALL)
  dimension = monitors(x @ np.outer(np.ones(16), np.arange(16.0)).astype(np.float32), ALL)
  complete = monitors(np.broadcast_to(x[:1], x.shape), ALL)
  assert float(healthy["feature_rank"][0]) > 12
  assert float(dimension["feature_rank"][0]) < 1.1
  assert float(complete["feature_rank"][0]) < 1.1
  assert float(complete["feature_std"][0]) < 1e-5 < 0.5 < float(healthy["feature_std"][0])
  gradient = jax.grad(lambda x: monitors(x, ALL)["feature_rank"][0])(jnp.asarray(x))
  assert not np.asarray(gradient).any()
