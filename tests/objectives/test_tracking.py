"""Association: the match by hand, slots dealt anew, columns that are ruled out, planted mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import tracking

AGENT = jnp.array([[[7, 3, -1], [3, 9, 7]]])
# 3 stays, 7 goes (its slot is empty), 9 is new.
PRESENT = jnp.array([[[True, True, False], [True, True, False]]])


def test_matches_by_hand():
  np.testing.assert_array_equal(tracking.matches(AGENT, PRESENT)[0, 0], [3, 0, 3])


def test_a_sure_and_right_answer_costs_nothing_and_a_flat_one_the_open_columns():
  sure = 30.0 * jax.nn.one_hot(jnp.array([[[3, 0, 0]]]), 4)
  found = tracking.loss(sure, AGENT, PRESENT)
  assert float(found["loss"][0][0]) == pytest.approx(0, abs=1e-5)
  assert (float(found["accuracy"][0][0]), float(found["accuracy"][1][0])) == (2, 2)
  assert (float(found["kept"][0][0]), float(found["kept"][1][0])) == (1, 1)
  flat = tracking.loss(jnp.zeros((1, 1, 3, 4)), AGENT, PRESENT)
  assert float(flat["loss"][0][0]) == pytest.approx(2 * np.log(3), rel=1e-6)  # 3, 9, gone
  wrong = tracking.loss(30.0 * jax.nn.one_hot(jnp.array([[[0, 1, 0]]]), 4), AGENT, PRESENT)
  assert float(wrong["accuracy"][0][0]) == 0


def test_shuffling_deals_every_step_anew_and_all_arrays_alike():
  agent = jnp.broadcast_to(jnp.arange(6)[None, None], (8, 3, 6))
  batch = {
    "agent_BxTxK": agent,
    "boxes_BxTxKx7": agent[..., None] * jnp.ones(7)[None, None, None],
    "real_B": jnp.ones(8, bool),
    "domain_B": 1,
  }
  dealt = tracking.shuffle(batch, jax.random.key(0))
  np.testing.assert_array_equal(jnp.sort(dealt["agent_BxTxK"], -1), agent)
  np.testing.assert_array_equal(dealt["boxes_BxTxKx7"][..., 3], dealt["agent_BxTxK"])
  assert dealt["domain_B"] == 1
  kept = (dealt["agent_BxTxK"][:, 0] == dealt["agent_BxTxK"][:, 1]).mean()
  assert float(kept) < 0.5  # one in six by chance: the slot tells nothing


def test_the_loss_follows_the_slots():
  """Affinities dealt as the slots are cost the same: nothing hangs on a slot's number."""
  affinity = jax.random.normal(jax.random.key(0), (1, 1, 3, 4))
  rows, columns = jnp.array([2, 0, 1]), jnp.array([1, 2, 0])
  agent = jnp.stack([AGENT[:, 0][:, rows], AGENT[:, 1][:, columns]], 1)
  present = jnp.stack([PRESENT[:, 0][:, rows], PRESENT[:, 1][:, columns]], 1)
  turned = affinity[:, :, rows][..., jnp.append(columns, 3)]
  before, after = tracking.loss(affinity, AGENT, PRESENT), tracking.loss(turned, agent, present)
  for name in before:
    np.testing.assert_allclose(before[name][0], after[name][0], rtol=1e-6)


def test_absent_agents_teach_nothing():
  slope = jax.grad(lambda a: tracking.loss(a, AGENT, PRESENT)["loss"][0].sum())(jnp.ones((1, 1, 3, 4)))
  np.testing.assert_array_equal(slope[0, 0, 2], 0)  # an empty row
  np.testing.assert_array_equal(slope[0, 0, :, 2], 0)  # an empty column
  assert float(jnp.abs(slope[0, 0, :2, jnp.array([0, 1, 3])]).min()) > 0
