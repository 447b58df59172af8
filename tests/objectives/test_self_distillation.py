"""Self-distillation: the analytic minimum, centring, Sinkhorn's margins, no gradient to the teacher, collapse seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import collapse
from objectives import self_distillation as sd


def _scores(n=8, k=5, seed=0):
  return np.random.default_rng(seed).normal(size=(n, k)).astype(np.float32)


def test_the_least_cross_entropy_is_the_entropy_where_both_agree():
  scores = jnp.asarray(_scores())
  p = sd.centred(scores, jnp.zeros(5), 0.3)
  entropy = -(p * jnp.log(p)).sum(-1)
  np.testing.assert_allclose(sd.cross_entropy(p, scores, 0.3), entropy, rtol=1e-5)
  slope = jax.grad(lambda s: sd.cross_entropy(p, s, 0.3).sum())(scores)
  np.testing.assert_allclose(slope, 0, atol=1e-5)
  assert (np.asarray(sd.cross_entropy(p, jnp.asarray(_scores(seed=1)), 0.3)) > entropy).all()


def test_centring_takes_away_what_all_rows_share():
  scores, shift = _scores(), np.asarray([9, 0, -3, 1, 2], np.float32)
  np.testing.assert_allclose(
    sd.centred(scores + shift[None], shift, 0.1), sd.centred(scores, np.zeros(5), 0.1), rtol=2e-3, atol=1e-6
  )
  followed = sd.follow_centre(jnp.ones(5), (jnp.asarray(scores.sum(0)), jnp.float32(8)), 0.9)
  np.testing.assert_allclose(followed, 0.9 + 0.1 * scores.mean(0), rtol=1e-5)


def test_sinkhorn_uses_all_prototypes_alike():
  scores = _scores(20, 5) + np.asarray([4, 0, 0, 0, 0], np.float32)[None]  # all rows prefer the first
  scores = np.concatenate([scores, 9 * _scores(3, 5, 2)])  # and three rows that only fill up the batch
  p = np.asarray(sd.sinkhorn(scores, np.arange(23) < 20, 0.5, 50))[:20]
  scores = scores[:20]
  np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
  np.testing.assert_allclose(p.sum(0), 4, rtol=1e-3)
  # Scaling rows and columns keeps the interaction of scores: log p is their sum, up to those scales.
  double = lambda x: x[1:, 1:] - x[:1, 1:] - x[1:, :1] + x[:1, :1]  # noqa: E731
  np.testing.assert_allclose(double(np.log(p)), double(scores / 0.5), rtol=1e-3, atol=1e-3)


def _apply(variables, batch, hide):
  seen = batch["x_BxTxS"] * ~hide(batch["x_BxTxS"] > -9)
  features = seen.reshape(len(seen), -1) @ variables["params"]["w"]
  return features @ variables["params"]["prototypes"], features


def _batch():
  x = np.random.default_rng(0).normal(size=(8, 2, 6)).astype(np.float32)
  return {"x_BxTxS": x, "domain_B": np.arange(8) % 2, "real_B": np.ones(8, bool)}


def _params():
  rng = np.random.default_rng(1)
  net = {
    "w": jnp.asarray(rng.normal(size=(12, 7)), jnp.float32),
    "prototypes": jnp.asarray(rng.normal(size=(7, 5)), jnp.float32),
  }
  return {"student": net, "teacher": net, "centre": jnp.zeros(5)}


def _some(key, valid):
  return jax.random.bernoulli(key, 0.5, valid.shape)


def _nothing(key, valid):
  return jnp.zeros_like(valid)


def _loss(hide, temperature=0.5, rounds=0):
  teach = lambda variables, batch: _apply(variables, batch, jnp.zeros_like)  # noqa: E731
  return jax.jit(sd.make_loss(_apply, teach, hide, 3, 0.5, temperature, rounds, 2))


def test_identical_views_are_at_the_minimum():
  metrics = _loss(_nothing)(_params(), _batch(), jax.random.key(0))
  assert float(metrics["loss"][0] / metrics["loss"][1]) == pytest.approx(0, abs=1e-5)
  assert float(metrics["loss"][1]) == 24
  gradient = jax.grad(lambda p: _loss(_nothing)(p, _batch(), jax.random.key(0))["objective"][0])(_params())
  assert float(jnp.abs(gradient["student"]["w"]).max()) < 1e-4
  hidden = _loss(_some)(_params(), _batch(), jax.random.key(0))
  assert float(hidden["loss"][0]) > 1


@pytest.mark.parametrize("rounds", [0, 3])
def test_only_the_student_gets_a_gradient(rounds):
  loss_fn = _loss(_some, 0.1, rounds)
  gradient = jax.grad(lambda p: loss_fn(p, _batch(), jax.random.key(0))["objective"][0])(_params())
  assert all(np.asarray(g).any() for g in jax.tree.leaves(gradient["student"]))
  assert not any(np.asarray(g).any() for g in jax.tree.leaves((gradient["teacher"], gradient["centre"])))


def test_scores_for_the_centre_are_the_teachers_on_everything():
  params, batch = _params(), _batch()
  metrics = _loss(_some)(params, batch, jax.random.key(0))
  scores, _ = _apply({"params": params["teacher"]}, batch, jnp.zeros_like)
  np.testing.assert_allclose(metrics["teacher_scores"][0], scores.sum(0), rtol=1e-5)
  assert float(metrics["teacher_scores"][1]) == 8
  np.testing.assert_allclose(metrics["by_domain"][0].sum(), metrics["loss"][0], rtol=1e-4)


def test_one_prototype_for_everything_is_seen():
  params, batch = _params(), _batch()
  healthy = collapse.read(_loss(_some)(params, batch, jax.random.key(0)))
  same = batch | {"x_BxTxS": np.broadcast_to(batch["x_BxTxS"][:1], batch["x_BxTxS"].shape)}
  collapsed = collapse.read(_loss(_some, 0.05)(params, same, jax.random.key(0)))
  assert float(healthy["prototypes"][0]) > 2 > 1.1 > float(collapsed["prototypes"][0])
  assert float(healthy["feature_rank"][0]) > 3 > 1.1 > float(collapsed["feature_rank"][0])
