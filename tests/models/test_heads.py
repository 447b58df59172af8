"""Heads and the policy: slots, steps to come, absent sensors; what answers mean in metres."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.heads import Heads
from models.heads_config import EGO_HEADS, HEADS, HeadsConfig
from models.policy import PolicyConfig, PolicyModel
from models.reading_config import ReadConfig
from models.sensors_config import GridConfig
from tests.sensed import perception_config, sensor_batch

CONFIG = HeadsConfig(
  names=HEADS, read=ReadConfig(16, 16, 8, "float32"), grid=GridConfig(8, 2, 1.0, 2.0),
  ego_scales=(10.0, 0.5), cell_classes=5,
  box_classes=3, element_classes=2, boxes=4, ahead=2, elements=3, element_points=5, modes=2, futures=3,
  step_seconds=0.5, moves=7, learned=2,
)  # fmt: skip
STEPS = 3


def inputs(tokens=6):
  keys = jax.random.split(jax.random.key(0), 3)
  batch = {
    "boxes_BxTxKx7": jax.random.uniform(keys[0], (2, STEPS, 4, 7), minval=-3.0, maxval=3.0),
    "present_BxTxK": jnp.ones((2, STEPS, 4), bool).at[0, :, 3].set(False),
    "class_BxTxK": jax.random.randint(keys[1], (2, STEPS, 4), 0, 3),
    "ego_BxTxS": jnp.full((2, STEPS, 2), 3.0),
  }
  return jax.random.normal(keys[2], (2, STEPS, tokens, 16)), jnp.ones((2, STEPS, tokens), bool), batch


@pytest.fixture(scope="module")
def trained():
  """Parameters that are nowhere zero, as after training, and what the heads then answer."""
  model = Heads(CONFIG)
  params = nn.unbox(jax.jit(model.init)(jax.random.key(0), *inputs())["params"])
  params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape), params)
  return params, jax.jit(lambda params, *given: model.apply({"params": params}, *given))


def test_agents_answers_follow_their_slots(trained):
  params, apply = trained
  x, valid, batch = inputs()
  order = jnp.array([2, 0, 3, 1])
  before = apply(params, x, valid, batch)
  after = apply(params, x, valid, {name: v[:, :, order] if "TxK" in name else v for name, v in batch.items()})
  for name, value in before.items():
    if "TxK" in name:
      value = value[:, :, order]
    if name == "affinity_BxTxKxJ":
      value = value[..., jnp.append(order, 4)]
    np.testing.assert_allclose(after[name], value, atol=1e-4, err_msg=name)


def test_tokens_that_are_not_valid_are_read_by_nobody(trained):
  params, apply = trained
  x, valid, batch = inputs()
  valid = valid.at[:, :, 2].set(False)
  before = apply(params, x, valid, batch)
  after = apply(params, x.at[:, :, 2].set(1e3), valid, batch)
  for name in before:
    np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_boxes_that_are_absent_change_nobodys_answers(trained):
  params, apply = trained
  x, valid, batch = inputs()
  before = apply(params, x, valid, batch)
  after = apply(params, x, valid, batch | {"boxes_BxTxKx7": batch["boxes_BxTxKx7"].at[0, :, 3].set(jnp.nan)})
  for name in before:
    np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_forecasts_turn_with_their_boxes(trained):
  """A box turned on the spot: what its head answers is told in the ego frame, from the box's centre."""
  params, apply = trained
  params = params | {"forecasting": jnp.zeros_like(params["forecasting"])}  # the same answer for every box
  x, valid, batch = inputs()
  boxes = batch["boxes_BxTxKx7"]
  ahead = apply(params, x, valid, batch | {"boxes_BxTxKx7": boxes.at[..., 6].set(0.0)})
  left = apply(params, x, valid, batch | {"boxes_BxTxKx7": boxes.at[..., 6].set(jnp.pi / 2)})
  name, there = "forecast_mean_BxTxKxNxFx2", batch["present_BxTxK"][..., None, None, None]
  centre = boxes[..., None, None, :2]
  a, b = (jnp.where(there, found[name] - centre, 0) for found in (ahead, left))
  np.testing.assert_allclose(b, jnp.stack([-a[..., 1], a[..., 0]], -1), atol=1e-3)


def test_a_plan_begins_as_going_straight_on():
  """3 m/s for steps of half a second, when heads answer zero."""
  model = Heads(dataclasses.replace(CONFIG, names=("plan",)))
  x, valid, batch = inputs()
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), x, valid, batch))
  zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
  mean = model.apply(zeros, x, valid, batch)["plan_mean_BxTxNxFx2"]
  np.testing.assert_allclose(mean[1, 2, 0], [[1.5, 0], [3, 0], [4.5, 0]])


def test_a_policy_reads_no_step_to_come():
  perception = perception_config("factorised", ("ego", "raster"), 1)
  width = perception.trunk.width
  heads = dataclasses.replace(CONFIG, names=EGO_HEADS, read=ReadConfig(width, width, 8, "float32"), learned=0)
  model = PolicyModel(PolicyConfig(perception, heads))
  batch = sensor_batch(perception)
  params = nn.unbox(jax.jit(model.init)(jax.random.key(0), batch)["params"])
  params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape), params)
  apply = jax.jit(lambda params, batch: model.apply({"params": params}, batch))
  before = apply(params, batch)
  name = "ego_BxTxS"
  changed = jnp.asarray(batch[name]).at[:, -1].add(5.0)
  after = apply(params, batch | {name: changed})
  for name in before:
    np.testing.assert_allclose(before[name][:, :-1], after[name][:, :-1], atol=1e-5)
    assert float(jnp.abs(before[name][:, -1] - after[name][:, -1]).max()) > 1e-3


def test_a_trunk_that_looks_ahead_and_unknown_heads_are_refused():
  with pytest.raises(ValueError, match="causal"):
    PolicyConfig(dataclasses.replace(perception_config("factorised", ("ego",), 2)), CONFIG)
  with pytest.raises(ValueError, match="steering"):
    dataclasses.replace(CONFIG, names=("steering",))
