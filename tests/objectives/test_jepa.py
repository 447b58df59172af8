"""Joint-embedding prediction: smooth L1 by hand, hidden tokens only, no gradient to the teacher, collapse seen."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from objectives import collapse, jepa
from objectives.masked import standardised

SHAPE = (4, 2, 6)


def _batch():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(*SHAPE, 5)).astype(np.float32)
  return {
    "x": x,
    "valid_BxTxS": rng.random(SHAPE) < 0.9,
    "domain_B": np.asarray([0, 1, 1, 0]),
    "real_B": np.ones(4, bool),
  }


def _params():
  rng = np.random.default_rng(1)
  return {who: {"w": jnp.asarray(rng.normal(size=(5, 8)), jnp.float32)} for who in ("student", "teacher")}


def _predict(variables, batch, hide):
  return jnp.einsum("btsf,fd->btsd", batch["x"], variables["params"]["w"]), hide(batch["valid_BxTxS"])


def _embed(variables, batch):
  return jnp.einsum("btsf,fd->btsd", batch["x"], variables["params"]["w"]), batch["valid_BxTxS"]


def _loss(predict=_predict):
  hide = lambda key, valid: valid & jax.random.bernoulli(key, 0.5, valid.shape)  # noqa: E731
  return jax.jit(jepa.make_loss(predict, _embed, hide, 2))


def test_smooth_l1_and_its_slope():
  x = jnp.asarray([-3.0, -1.0, -0.5, 0.0, 0.5, 2.0])
  np.testing.assert_allclose(jepa.smooth_l1(x), [2.5, 0.5, 0.125, 0, 0.125, 1.5])
  np.testing.assert_allclose(jax.vmap(jax.grad(jepa.smooth_l1))(x), [-1, -1, -0.5, 0, 0.5, 1])


def test_loss_is_the_error_at_hidden_tokens():
  batch, params = _batch(), _params()
  metrics = _loss()(params, batch, jax.random.key(0))
  keys = [jax.random.fold_in(jax.random.key(0), i) for i in range(SHAPE[0])]
  hidden = batch["valid_BxTxS"] & np.stack([jax.random.bernoulli(own, 0.5, SHAPE[1:]) for own in keys])
  target = np.asarray(standardised(batch["x"] @ np.asarray(params["teacher"]["w"])))
  gap = np.abs(batch["x"] @ np.asarray(params["student"]["w"]) - target)
  error = np.where(gap < 1, gap**2 / 2, gap - 0.5).mean(-1) * hidden
  assert float(metrics["loss"][0]) == pytest.approx(error.sum(), rel=1e-4)
  assert float(metrics["loss"][1]) == hidden.sum()
  np.testing.assert_allclose(metrics["by_domain"][0].sum(), metrics["loss"][0], rtol=1e-5)


def test_a_perfect_prediction_costs_nothing():
  def perfect(variables, batch, hide):
    z, valid = _embed({"params": _params()["teacher"]}, batch)
    return standardised(z), hide(valid)

  metrics = _loss(perfect)(_params(), _batch(), jax.random.key(0))
  assert float(metrics["loss"][0]) < 1e-9 < float(metrics["loss"][1])


def test_the_teacher_gets_no_gradient():
  gradient = jax.grad(lambda p: _loss()(p, _batch(), jax.random.key(0))["objective"][0])(_params())
  assert not np.asarray(gradient["teacher"]["w"]).any()
  assert np.asarray(gradient["student"]["w"]).any()


def test_a_teacher_that_says_the_same_of_everything_is_seen():
  params, batch = _params(), _batch()
  same = batch | {"x": np.broadcast_to(batch["x"][:1, :1, :1], batch["x"].shape)}
  healthy, collapsed = (collapse.read(_loss()(params, one, jax.random.key(0))) for one in (batch, same))
  assert float(healthy["feature_rank"][0]) > 3
  assert float(collapsed["feature_rank"][0]) < 1.1
  assert float(collapsed["feature_std"][0]) < 1e-4 < 0.1 < float(healthy["feature_std"][0])


def test_what_is_hidden_is_learned_from_what_is_visible():
  """The second token of a frame, always hidden, is a rotation of the first: a linear map can tell what the teacher
  says of it. Fitted, it costs a tenth of what the same map makes of other frames, which it cannot before.
  """
  rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))

  def predict(variables, batch, hide):
    z = jnp.einsum("btsf,fd->btsd", batch["seen"], variables["params"]["w"])
    return standardised(z), hide(batch["valid_BxTxS"])

  def hide(key, valid):
    return valid & jnp.array([False, True])[None, None]

  loss_fn = jepa.make_loss(predict, _embed, hide, 1)

  def cost(student, key, shift):
    """Per hidden token, of a predictor that is shown the frames of other records when they are shifted."""
    first = jax.random.normal(key, (64, 1, 1, 5))
    both = jnp.concatenate([first, first @ rotation.astype(np.float32)], 2)
    batch = {
      "x": both,
      "seen": jnp.roll(jnp.broadcast_to(first, both.shape), shift, 0),
      "valid_BxTxS": jnp.ones((64, 1, 2), bool),
      "domain_B": jnp.zeros(64, jnp.int32),
      "real_B": jnp.ones(64, bool),
    }
    total, count = loss_fn({"student": student, "teacher": _params()["teacher"]}, batch, key)["objective"]
    return total / count

  tx, student = optax.adam(0.05), _params()["student"]

  def step(state, key):
    student, opt = state
    updates, opt = tx.update(jax.grad(cost)(student, key, 0), opt)
    return (optax.apply_updates(student, updates), opt), None

  keys = jax.random.split(jax.random.key(0), 300)
  fitted = jax.jit(lambda state: jax.lax.scan(step, state, keys))((student, tx.init(student)))[0][0]
  new = jax.random.key(1)
  assert cost(student, new, 0) > 0.5 * cost(student, new, 1)
  assert cost(fitted, new, 0) < 0.1 * cost(fitted, new, 1)
