"""InfoNCE: the closed form and its gradient, negatives that are none, absent views, one device and eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from experiments.mesh import make_mesh
from objectives import contrastive

ALL = np.ones(4, bool)
info_nce = jax.jit(contrastive.info_nce)
APART = np.arange(4)


def _views(n=4, d=6):
  rng = np.random.default_rng(0)
  return rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(n, d)).astype(np.float32)


def _softmax(x, axis):
  e = np.exp(x - x.max(axis, keepdims=True))
  return e / e.sum(axis, keepdims=True)


def test_equal_and_orthogonal_views_have_the_closed_form():
  eye = np.eye(4, dtype=np.float32)
  nats, correct, _ = info_nce(2 * eye, 5 * eye, ALL, APART, 3.0)
  np.testing.assert_allclose(nats, np.log(np.exp(3) + 3) - 3, rtol=1e-5)
  assert np.asarray(correct).all()
  nats, correct, _ = info_nce(eye, np.roll(eye, 1, 0), ALL, APART, 3.0)
  np.testing.assert_allclose(nats, np.log(np.exp(3) + 3), rtol=1e-5)
  assert not np.asarray(correct).any()


def test_views_that_say_nothing_cost_the_log_of_the_batch():
  nats, correct, _ = info_nce(np.ones((4, 3)), np.ones((4, 3)), ALL, APART, 7.0)
  np.testing.assert_allclose(nats, np.log(4), rtol=1e-5)
  assert not np.asarray(correct).any(), "all views are equal: nobody finds the partner"


def test_loss_and_gradient_equal_those_of_the_similarities():
  a, b = (np.asarray(contrastive.unit(x)) for x in _views())
  s = 2.5
  logits = s * a @ b.T
  rows, columns = _softmax(logits, 1), _softmax(logits, 0)
  nats, _, _ = info_nce(a, b, ALL, APART, s)
  expected = -(np.log(np.diag(rows)) + np.log(np.diag(columns))) / 2
  np.testing.assert_allclose(nats, expected, rtol=1e-5)
  gradient = jax.grad(lambda a: info_nce(a, b, ALL, APART, s)[0].sum())(jnp.asarray(a))
  free = s * ((rows + columns) / 2 - np.eye(4)) @ b
  onto_sphere = free - (free * a).sum(1, keepdims=True) * a
  np.testing.assert_allclose(gradient, onto_sphere, rtol=1e-4, atol=1e-5)


def test_moments_of_one_scene_are_no_negatives():
  a, b = _views()
  scene = np.asarray([0, 1, 1, 2])
  nats, _, _ = info_nce(a, b, ALL, scene, 1.0)
  without = [0, 1, 3]
  alone, _, _ = info_nce(a[without], b[without], ALL[:3], scene[without], 1.0)
  assert float(nats[1]) == pytest.approx(float(alone[1]), rel=1e-5)  # row 2 does not exist for row 1
  apart, _, _ = info_nce(a, b, ALL, APART, 1.0)
  assert float(nats[1]) < float(apart[1])
  np.testing.assert_allclose(nats[0], apart[0], rtol=1e-6)


def test_a_row_without_negatives_counts_nowhere():
  """Rows 1 and 2 are of one scene; row 0 lacks a view, so that they have nothing to be told apart from."""
  a, _ = _views(3)
  nats, correct, asked = info_nce(a, a, np.asarray([False, True, True]), np.asarray([0, 1, 1]), 2.0)
  assert not np.asarray(asked).any() and not np.asarray(correct).any() and not np.asarray(nats).any()
  _, correct, asked = info_nce(a, a, ALL[:3], np.asarray([0, 1, 1]), 2.0)
  assert np.asarray(asked).all() and np.asarray(correct).all()


def test_a_scale_beyond_its_bound_comes_back():
  """The gradient of a loss that falls with the scale stops at the bound; of one that rises, it goes through."""
  for x, slope, expected in ((5.0, 3.0, 3.0), (5.0, -3.0, 0.0), (1.0, 3.0, 3.0), (1.0, -3.0, -3.0)):
    value, gradient = jax.value_and_grad(lambda x, k: k * contrastive.at_most(x, 4.0))(x, slope)
    assert (float(value), float(gradient)) == (slope * min(x, 4.0), expected)
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(2, 16, 6)).astype(np.float32)  # unrelated views: the scale is far too large
  params, batch = {"w": jnp.eye(6), "log_scale": jnp.asarray(9.0)}, _batch() | {"a_BxD": a, "b_BxD": b}
  assert jax.grad(lambda p: _loss_fn()(p, batch, None)["objective"][0])(params)["log_scale"] > 0


def test_a_view_that_is_absent_neither_counts_nor_is_a_negative():
  a, b = _views()
  both = np.asarray([True, True, False, True])
  nats, correct, _ = info_nce(a, b, both, APART, 2.0)
  alone, _, _ = info_nce(a[both], b[both], ALL[:3], APART[:3], 2.0)
  np.testing.assert_allclose(np.asarray(nats)[both], alone, rtol=1e-5)
  assert float(nats[2]) == 0 and not correct[2]


def _loss_fn():
  def apply(variables, batch):
    w = variables["params"]["w"]
    views = {"camera": batch["a_BxD"] @ w, "lidar": batch["b_BxD"] @ w, "bev": (batch["a_BxD"] ** 2) @ w}
    present = {name: batch[f"{name}_B"] for name in views}
    return views, present, variables["params"]["log_scale"]

  return contrastive.make_loss(apply, domains=2)


def _batch(n=16):
  a, b = _views(n)
  rng = np.random.default_rng(1)
  present = {f"{name}_B": rng.random(n) < 0.8 for name in ("camera", "lidar", "bev")}
  return {
    "a_BxD": a, "b_BxD": b, "scene_B": np.arange(n) // 2, "domain_B": np.arange(n) % 2, "real_B": np.ones(n, bool),
    **present,
  }  # fmt: skip


def test_eight_devices_have_the_negatives_of_one():
  params = {"w": jnp.asarray(_views(6, 5)[0]), "log_scale": jnp.asarray(1.0)}
  batch, loss_fn = _batch(), _loss_fn()
  gradient = jax.jit(jax.value_and_grad(lambda p, x: loss_fn(p, x, None)["objective"][0]))
  one, g1 = gradient(params, batch)
  mesh = make_mesh(4, 2, 1, 1)
  split = jax.device_put(batch, NamedSharding(mesh, PartitionSpec(("data", "fsdp"))))
  eight, g8 = gradient(params, split)
  assert float(one) == pytest.approx(float(eight), rel=1e-5)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), g1, g8)


def test_pairs_and_domains_add_up():
  batch = _batch()
  params = {"w": jnp.asarray(_views(6, 5)[0]), "log_scale": jnp.asarray(9.0)}
  metrics = _loss_fn()(params, batch, None)
  present = [batch[f"{name}_B"] for name in ("camera", "lidar", "bev")]
  pairs = sum((p & q).sum() for i, p in enumerate(present) for q in present[:i])
  assert float(metrics["loss"][1]) == pairs
  np.testing.assert_allclose(metrics["by_domain"][0].sum(), metrics["loss"][0], rtol=1e-5)
  np.testing.assert_allclose(metrics["by_domain"][1].sum(), pairs)
  assert float(metrics["scale"][0]) == pytest.approx(contrastive.LARGEST_SCALE, rel=1e-5)


def test_a_record_that_fills_up_the_batch_is_not_there():
  loss_fn, batch = jax.jit(lambda p, x: _loss_fn()(p, x, None)), _batch()
  params = {"w": jnp.asarray(_views(6, 5)[0]), "log_scale": jnp.asarray(1.0)}
  batch["real_B"][12:] = False
  noise = {name: batch[name].copy() for name in ("a_BxD", "b_BxD")}
  for value in noise.values():
    value[12:] = 7.0
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5),
    loss_fn(params, batch),
    loss_fn(params, batch | noise),
  )
