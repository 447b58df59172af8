"""A record of weight w counts w times in every loss that adds up over records: sums are linear in weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import jepa, masked, multi_task, next_token

B, T, S, V = 3, 2, 4, 5
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(B, T, S, V)), jnp.float32)
THERE = jnp.asarray(RNG.random((B, T, S)) < 0.7)
BATCH = {
  "domain_B": jnp.array([0, 1, 0]), "real_B": jnp.ones(B, bool), "mask_BxTxA": THERE, "mask_BxT": THERE.any(-1),
  "moving_BxA": THERE[:, 0], "tokens_BxTxA": jnp.ones((B, T, S), int), "codes_BxTxS": jnp.ones((B, T, S), int),
  "ego_BxTxS": jnp.zeros((B, T, 1)),
}  # fmt: skip


def _term(answers, batch):
  return {"loss": (answers["x"] ** 2, jnp.ones(B))}


LOSSES = {
  "moves": next_token.make_loss(lambda *_: LOGITS, 0.1, 2),
  "codes": next_token.make_codes_loss(lambda *_: LOGITS, 0.1, 2),
  "masked": masked.make_loss(
    lambda *_: ({"lidar": LOGITS}, {"lidar": THERE}),
    lambda key, valid: valid,
    {"lidar": (lambda batch: jnp.zeros_like(LOGITS), masked.squared_error)},
    2,
  ),
  "jepa": jepa.make_loss(
    lambda *_: (LOGITS, THERE), lambda *_: (LOGITS[::-1], THERE), lambda key, valid: valid, 2
  ),
  "multi_task": multi_task.make_loss(
    lambda *_: {"x": LOGITS[:, 0, 0, 0], "log_variance_I": jnp.ones(1)},
    lambda batch, key: batch,
    {"plan": _term},
    {"plan": 2.0},
    {"plan": -1.0},
    2,
  ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_sums_and_counts_are_linear_in_the_weights(name):
  @jax.jit
  def loss(weight_B):
    params = {"student": {}, "teacher": {}}
    found = LOSSES[name](params, BATCH | {"weight_B": weight_B}, jax.random.key(0))
    return {part: found[part] for part in ("objective", "loss", "by_domain")}

  weight_B = np.array([0.5, 0.0, 3.0], np.float32)
  single = [loss(one) for one in np.eye(B, dtype=np.float32)]
  added = jax.tree.map(lambda *parts: sum(w * part for w, part in zip(weight_B, parts, strict=True)), *single)
  whole = loss(weight_B)
  jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5), whole, added)
  assert float(whole["loss"][1]) > 0 and float(whole["loss"][0]) != float(single[0]["loss"][0])
