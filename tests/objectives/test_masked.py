"""Masked reconstruction: targets by hand, and a loss that reads hidden tokens only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import masked


def test_standardised_patches_ignore_brightness_and_contrast():
  x = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32) * 40 + 90
  y = np.asarray(masked.standardised(x))
  np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
  np.testing.assert_allclose(y.std(-1), 1, rtol=1e-4)
  np.testing.assert_allclose(masked.standardised(2 * x + 5), y, rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(masked.standardised(np.full((1, 4), 7.0)), 0)


def test_pillar_statistics_by_hand():
  cell = np.asarray([2, 2, 5, 6, 6])  # of 6 cells: the last two points are in none
  values = np.asarray([[1.0, 0.5], [3.0, 0.0], [2.0, 1.0], [9.0, 9.0], [9.0, 9.0]])
  found = np.asarray(jax.jit(masked.pillar_statistics, static_argnums=2)(cell, values, 6))
  expected = np.zeros((6, 4))
  expected[2] = [1, np.log(3), 2.0, 0.25]
  expected[5] = [1, np.log(2), 2.0, 1.0]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_pillar_error_asks_for_statistics_only_where_there_are_points():
  target = np.zeros((2, 6), np.float32)
  target[1] = [1, 0.5, 0.1, 0.2, 2.0, 0.3]
  prediction = np.zeros_like(target)
  prediction[:, 1:] = 9.0
  error = np.asarray(masked.pillar_error(prediction, target))
  assert error[0] == pytest.approx(np.log(2), rel=1e-6)
  assert error[1] == pytest.approx(np.log(2) + ((9 - target[1, 1:]) ** 2).mean(), rel=1e-6)


def _loss(prediction, hidden):
  asked = []

  def apply(variables, batch, hide):
    asked.append(hide(batch["valid_BxTxS"]))
    return {"bev": prediction}, {"bev": hidden}

  targets = {"bev": (lambda batch: batch["target"], masked.squared_error)}
  loss_fn = masked.make_loss(apply, lambda key, valid: jax.random.bits(key) + valid, targets, domains=3)
  return loss_fn, asked


def test_only_hidden_tokens_count():
  rng = np.random.default_rng(0)
  target = rng.normal(size=(3, 2, 4, 5)).astype(np.float32)
  prediction = rng.normal(size=target.shape).astype(np.float32)
  hidden = rng.random((3, 2, 4)) < 0.5
  batch = {
    "valid_BxTxS": np.ones((3, 2, 4), bool),
    "target": target,
    "domain_B": np.asarray([2, 0, 2]),
    "real_B": np.ones(3, bool),
  }
  loss_fn, asked = _loss(prediction, hidden)
  metrics = loss_fn({}, batch, jax.random.key(5))
  for i, record in enumerate(batch["valid_BxTxS"]):
    own = jax.random.fold_in(jax.random.key(5), i)
    np.testing.assert_array_equal(asked[0][i], jax.random.bits(own) + record)
  error = ((prediction - target) ** 2).mean(-1) * hidden
  assert float(metrics["loss"][0]) == pytest.approx(error.sum(), rel=1e-5)
  assert float(metrics["loss"][1]) == hidden.sum() == float(metrics["loss_bev"][1])
  np.testing.assert_allclose(metrics["by_domain"][0], [error[1].sum(), 0, error[[0, 2]].sum()], rtol=1e-5)
  np.testing.assert_allclose(metrics["by_domain"][1], [hidden[1].sum(), 0, hidden[[0, 2]].sum()])
  changed = jnp.where(hidden[..., None], prediction, 99.0)
  again = _loss(changed, hidden)[0](
    {}, batch | {"target": np.where(hidden[..., None], target, -9)}, jax.random.key(5)
  )
  np.testing.assert_allclose(again["loss"][0], metrics["loss"][0], rtol=1e-6)
  two = loss_fn({}, batch | {"real_B": np.asarray([True, False, True])}, jax.random.key(5))
  assert float(two["loss"][0]) == pytest.approx(error[[0, 2]].sum(), rel=1e-5)
  assert float(two["by_domain"][1][0]) == 0
