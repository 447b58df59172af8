"""The motion world model: exact factorisation, scan and remat parity."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import context, motion
from models.motion import MotionModel, embed
from models.motion_config import MotionConfig
from tests.worlds import random_batch

CONFIG = MotionConfig(
  width=16, layers=4, head_dim=8, factors=(15, 17), features=context.FEATURES, steps=8, agents=8,
  dtype="float32", scan=False, remat="none", adapter=0, prefix=0, heads=0, hidden=0,
)  # fmt: skip


def _params(config, batch):
  """Parameters that are nowhere zero, as after training: fresh ones silence whole branches."""
  params = jax.jit(MotionModel(config).init)(jax.random.key(0), batch)["params"]
  return jax.tree.map(lambda p: p + 0.05 * jax.random.normal(jax.random.key(p.size), p.shape), params)


def test_no_move_sees_itself_or_a_later_one():
  """d logits[t, i] / d (inputs that follow from later moves) = 0: the factorisation is exact.

  Moves enter as tokens (read by successors within the step) and through features of later steps. Changing
  move (t, i) and all features after t may change logits only at (t, j > i) and at later steps.
  """
  batch = random_batch(1)
  batch["valid_BxTxA"][:] = batch["mask_BxTxA"][:] = True
  model = MotionModel(CONFIG)
  params = nn.unbox(_params(CONFIG, batch))
  apply = jax.jit(lambda b: model.apply({"params": params}, b))
  before = apply(batch)
  t, i = 4, 2
  changed = {k: v.copy() for k, v in batch.items()}
  changed["tokens_BxTxA"][0, t, i] = (batch["tokens_BxTxA"][0, t, i] + 7) % motion.VOCABULARY
  changed["features_BxTxAxF"][0, t + 1 :] += 1.0
  different = np.asarray(jnp.abs(apply(changed) - before).max(-1) > 0)[0]
  assert not different[:t].any()
  assert not different[t, : i + 1].any()
  assert different[t, i + 1] and different[t + 1].all()


def test_features_of_a_window_know_its_first_half_alone():
  batch = random_batch(1)
  batch["valid_BxTxA"][:] = batch["mask_BxTxA"][:] = True
  params = nn.unbox(_params(CONFIG, batch))
  read = jax.jit(functools.partial(embed, MotionModel(CONFIG), params))
  half = CONFIG.steps // 2
  later, earlier = ({k: v.copy() for k, v in batch.items()} for _ in range(2))
  later["tokens_BxTxA"][:, half:] = (batch["tokens_BxTxA"][:, half:] + 7) % motion.VOCABULARY
  later["features_BxTxAxF"][:, half + 1 :] += 1.0
  earlier["features_BxTxAxF"][:, half - 1, 0] += 1.0
  now = np.asarray(read(batch))
  np.testing.assert_array_equal(read(later), now)
  assert now.shape == (1, CONFIG.width) and np.abs(read(earlier) - now).max() > 1e-4


def test_groups_and_invalid_positions_are_invisible():
  batch = random_batch(1)
  model = MotionModel(CONFIG)
  params = nn.unbox(_params(CONFIG, batch))
  apply = jax.jit(lambda b: model.apply({"params": params}, b))
  before = np.asarray(apply(batch))[0]
  second = batch["group_BxA"][0] == 2
  changed = {k: v.copy() for k, v in batch.items()}
  changed["features_BxTxAxF"][0][:, second] *= -1
  changed["tokens_BxTxA"][0][:, second] = 3
  after = np.asarray(apply(changed))[0]
  np.testing.assert_array_equal(after[:, ~second], before[:, ~second])
  assert (after[:, second] != before[:, second]).any()

  hidden = ~batch["valid_BxTxA"][0]
  changed = {k: v.copy() for k, v in batch.items()}
  changed["features_BxTxAxF"][0][hidden] += 5
  after = np.asarray(apply(changed))[0]
  np.testing.assert_array_equal(after[~hidden], before[~hidden])


def test_ordering_within_a_step_lets_the_ego_lead():
  """Agents of one group answer the ego's move: its token changes the logits of all who follow."""
  batch = random_batch(1)
  batch["valid_BxTxA"][:] = batch["mask_BxTxA"][:] = True
  model = MotionModel(CONFIG)
  params = nn.unbox(_params(CONFIG, batch))
  apply = jax.jit(lambda b: model.apply({"params": params}, b))
  before = np.asarray(apply(batch))[0, 0]
  batch["tokens_BxTxA"][0, 0, 0] = (batch["tokens_BxTxA"][0, 0, 0] + 1) % motion.VOCABULARY
  changed = (np.asarray(apply(batch))[0, 0] != before).any(-1)
  np.testing.assert_array_equal(changed, [False] + [True] * 5 + [False] * 2)


def _alone(steps: int) -> dict[str, np.ndarray]:
  """A window whose agents are all there and know no move: what they see of the past are features alone."""
  batch = random_batch(1, steps=steps)
  batch["valid_BxTxA"][:], batch["mask_BxTxA"][:] = True, False
  return batch


def test_time_counts_from_one_step_to_another_not_from_the_start_of_the_window():
  """The same five steps give the same logits at the start of a window and, after three empty ones, at its end."""
  early = random_batch(1)
  late = {name: value.copy() for name, value in early.items()}
  for name in ("tokens_BxTxA", "valid_BxTxA", "mask_BxTxA", "features_BxTxAxF"):
    early[name][:, 5:] = 0
    late[name][:] = np.roll(early[name], 3, axis=1)
  model = MotionModel(CONFIG)
  params = nn.unbox(_params(CONFIG, early))
  apply = jax.jit(lambda b: model.apply({"params": params}, b))
  np.testing.assert_allclose(apply(late)[:, 3:], apply(early)[:, :5], rtol=1e-4, atol=1e-5)


def test_the_past_has_an_order():
  """With one attention over time, only its positions tell the past from the same past shuffled."""
  config = dataclasses.replace(CONFIG, layers=2)
  batch = _alone(config.steps)
  params = jax.tree.map(lambda p: 4 * p, nn.unbox(_params(config, batch)))
  apply = jax.jit(lambda b: MotionModel(config).apply({"params": params}, b))
  shuffled = batch | {"features_BxTxAxF": batch["features_BxTxAxF"][:, [5, 2, 6, 0, 3, 1, 4, 7]]}
  before, after = (
    np.asarray(jax.nn.softmax(apply(b)[0, -1, :, : config.vocabulary])) for b in (batch, shuffled)
  )
  assert (np.abs(after - before).sum(-1) > 1e-3).all()


def test_the_last_agent_that_moves_is_answered_across_a_hole():
  """With slot 1 empty, slot 2 still sees what slot 0 does in this step."""
  batch = random_batch(1)
  batch["valid_BxTxA"][:] = batch["mask_BxTxA"][:] = True
  batch["mask_BxTxA"][0, 0, 1] = False
  model = MotionModel(CONFIG)
  params = nn.unbox(_params(CONFIG, batch))
  apply = jax.jit(lambda b: model.apply({"params": params}, b))
  before = np.asarray(apply(batch))[0, 0]
  batch["tokens_BxTxA"][0, 0, 0] = (batch["tokens_BxTxA"][0, 0, 0] + 1) % motion.VOCABULARY
  changed = (np.asarray(apply(batch))[0, 0] != before).any(-1)
  np.testing.assert_array_equal(changed, [False] + [True] * 5 + [False] * 2)


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_scan_and_remat_do_not_change_the_gradient(remat):
  batch = random_batch(2)
  unrolled = MotionModel(CONFIG)
  params = nn.unbox(_params(CONFIG, batch))
  scanned = dataclasses.replace(CONFIG, scan=True, remat=remat)
  stacked = {k: v for k, v in params.items() if not k.startswith("pair_")}
  stacked["pairs"] = jax.tree.map(lambda *v: jnp.stack(v), params["pair_0"], params["pair_1"])

  def loss(model, p):
    return (jax.nn.log_softmax(model.apply({"params": p}, batch)[..., :255]) ** 2).mean()

  one, g1 = jax.jit(jax.value_and_grad(lambda p: loss(unrolled, p)))(params)
  two, g2 = jax.jit(jax.value_and_grad(lambda p: loss(MotionModel(scanned), p)))(stacked)
  assert float(one) == pytest.approx(float(two), rel=1e-6)
  np.testing.assert_allclose(g1["stem_up"], g2["stem_up"], rtol=1e-4, atol=1e-7)
  np.testing.assert_allclose(
    g1["pair_1"]["time"]["mlp"]["up"], g2["pairs"]["time"]["mlp"]["up"][1], rtol=1e-4, atol=1e-7
  )


def test_bfloat16_agrees_to_its_precision():
  batch = random_batch(2)
  params = nn.unbox(_params(CONFIG, batch))
  low = MotionModel(dataclasses.replace(CONFIG, dtype="bfloat16"))
  a = jax.nn.softmax(MotionModel(CONFIG).apply({"params": params}, batch))
  b = jax.nn.softmax(low.apply({"params": params}, batch))
  assert float(jnp.abs(a - b).sum(-1).max()) < 0.02


def test_a_width_the_heads_do_not_divide_is_refused():
  with pytest.raises(ValueError, match="width 20"):
    dataclasses.replace(CONFIG, width=20)
