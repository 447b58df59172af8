"""Next-token loss: the closed form, masks, slices, and that sums add up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import metrics, next_token
from tests.worlds import random_batch


def _loss(logits, z_weight=0.0):
  return next_token.make_loss(lambda variables, batch: logits, z_weight, domains=3)


def test_uniform_logits_cost_log_vocabulary():
  batch = random_batch(2)
  sums = _loss(jnp.zeros((2, 8, 8, 256)))({}, batch, jax.random.key(0))
  assert float(sums["loss"][0] / sums["loss"][1]) == pytest.approx(np.log(256), rel=1e-6)
  assert float(sums["loss"][1]) == batch["mask_BxTxA"].sum()


def test_slices_add_up_to_the_whole():
  batch = random_batch(6)
  logits = jax.random.normal(jax.random.key(1), (6, 8, 8, 256))
  sums = _loss(logits)({}, batch, jax.random.key(0))
  for a, b in (("by_domain", "loss"), ("moving_by_domain", "moving")):
    np.testing.assert_allclose(sums[a][0].sum(), sums[b][0], rtol=1e-5)
    np.testing.assert_allclose(sums[a][1].sum(), sums[b][1])
  assert float(sums["moving"][1]) == (batch["mask_BxTxA"] & batch["moving_BxA"][:, None]).sum()


def test_masked_moves_do_not_count():
  batch = random_batch(2)
  logits = jax.random.normal(jax.random.key(1), (2, 8, 8, 256))
  before = _loss(logits)({}, batch, jax.random.key(0))
  batch["tokens_BxTxA"][~batch["mask_BxTxA"]] = 5
  after = _loss(logits)({}, batch, jax.random.key(0))
  np.testing.assert_array_equal(before["loss"][0], after["loss"][0])


def test_z_loss_is_the_squared_log_normaliser():
  batch = random_batch(1)
  sums = _loss(jnp.full((1, 8, 8, 256), 2.0), z_weight=0.1)({}, batch, jax.random.key(0))
  extra = (sums["objective"][0] - sums["loss"][0]) / sums["loss"][1]
  assert float(extra) == pytest.approx(0.1 * (2 + np.log(256)) ** 2, rel=1e-5)


def test_halves_of_a_batch_reduce_to_the_whole():
  batch = random_batch(4)
  logits = jax.random.normal(jax.random.key(1), (4, 8, 8, 256))
  whole = metrics.reduce([_loss(logits)({}, batch, None)])
  halves = [
    _loss(logits[s])({}, {k: v[s] for k, v in batch.items()}, None) for s in (slice(0, 1), slice(1, 4))
  ]
  parts = metrics.reduce(halves)
  np.testing.assert_allclose(parts["loss"], whole["loss"], rtol=1e-6)
  np.testing.assert_allclose(parts["moving_by_domain"], whole["moving_by_domain"], rtol=1e-5)
