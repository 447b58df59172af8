"""Masked reconstruction: targets by hand, and a loss that reads hidden tokens only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import masked


def test_patches_are_cut_row_by_row():
  image = np.arange(4 * 6 * 2).reshape(1, 4, 6, 2)
  cut = np.asarray(masked.patches(image, 2))
  assert cut.shape == (1, 6, 8)
  np.testing.assert_array_equal(cut[0, 1], image[0, :2, 2:4].reshape(-1))
  np.testing.assert_array_equal(cut[0, 3], image[0, 2:, :2].reshape(-1))


def test_standardised_patches_ignore_brightness_and_contrast():
  x = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32) * 40 + 90
  y = np.asarray(masked.standardised(x))
  np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
  np.testing.assert_allclose(y.std(-1), 1, rtol=1e-4)
  np.testing.assert_allclose(masked.standardised(2 * x + 5), y, rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(masked.standardised(np.full((1, 4), 7.0)), 0)


def test_pillar_statistics_by_hand():
  points = np.zeros((1, 1, 5, 4), np.float16)
  points[0, 0, 0] = (-1.5, 0.5, 1.0, 0.5)  # pillar row 0, column 2 of 4 pillars of 1 m
  points[0, 0, 1] = (-1.25, 0.75, 3.0, 0.0)  # the same
  points[0, 0, 2] = (1.5, -1.5, 2.0, 1.0)  # row 3, column 0
  points[0, 0, 3] = (5.0, 0.0, 9.0, 1.0)  # outside
  points[0, 0, 4] = (0.5, 0.5, 9.0, 1.0)  # no echo
  echo = np.asarray([[[True, True, True, True, False]]])
  found = np.asarray(masked.pillar_statistics(points, echo, 4, 2.0))[0, 0]
  assert found.shape == (16, masked.PILLAR_VALUES)
  np.testing.assert_allclose(found[2], [1, np.log(3), 0.125, 0.125, 2.0, 0.25], rtol=1e-5)
  np.testing.assert_allclose(found[12], [1, np.log(2), 0, 0, 2.0, 1.0], rtol=1e-5, atol=1e-6)
  assert not found[[i for i in range(16) if i not in (2, 12)]].any()


def test_pillar_error_asks_for_statistics_only_where_there_are_points():
  target = np.zeros((2, masked.PILLAR_VALUES), np.float32)
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
  batch = {"valid_BxTxS": np.ones((3, 2, 4), bool), "target": target, "domain_B": np.asarray([2, 0, 2])}
  loss_fn, asked = _loss(prediction, hidden)
  metrics = loss_fn({}, batch, jax.random.key(5))
  np.testing.assert_array_equal(asked[0], jax.random.bits(jax.random.key(5)) + batch["valid_BxTxS"])
  error = ((prediction - target) ** 2).mean(-1) * hidden
  assert float(metrics["loss"][0]) == pytest.approx(error.sum(), rel=1e-5)
  assert float(metrics["loss"][1]) == hidden.sum() == float(metrics["loss_bev"][1])
  np.testing.assert_allclose(metrics["by_domain"][0], [error[1].sum(), 0, error[[0, 2]].sum()], rtol=1e-5)
  np.testing.assert_allclose(metrics["by_domain"][1], [hidden[1].sum(), 0, hidden[[0, 2]].sum()])
  changed = jnp.where(hidden[..., None], prediction, 99.0)
  again = _loss(changed, hidden)[0](
    {}, batch | {"target": np.where(hidden[..., None], target, -9)}, jax.random.key(5)
  )
  np.testing.assert_array_equal(again["loss"][0], metrics["loss"][0])
