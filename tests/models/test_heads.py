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
from models.reading import CrossAttention
from models.reading_config import ReadConfig
from models.sensors_config import GridConfig
from tests.models import test_geometry
from tests.sensed import perception_config, sensor_batch
from tests.weights import drawn

CONFIG = HeadsConfig(
  names=HEADS, read=ReadConfig(16, 16, 8, "float32"), grid=GridConfig(8, 2, 1.0, 2.0),
  ego_scales=(10.0, 0.5, 3.0), cell_classes=5,
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
    "agent_BxTxK": jnp.broadcast_to(jnp.arange(4), (2, STEPS, 4)),
    "ego_BxTxS": jnp.broadcast_to(jnp.array([3.0, 0.0, -1.0]), (2, STEPS, 3)),
  }
  x, valid = jax.random.normal(keys[2], (2, STEPS, tokens, 16)), jnp.ones((2, STEPS, tokens), bool)
  return x, valid, _places(tokens), batch


def _places(tokens):
  """The first token is nowhere, the others on a line ahead."""
  return jnp.stack([jnp.arange(tokens) + 0.5, jnp.zeros(tokens)], -1).at[0].set(jnp.nan)


@pytest.fixture(scope="module")
def trained():
  """Parameters that are nowhere zero, as after training, and what the heads then answer."""
  model = Heads(CONFIG)
  return drawn(model.init, *inputs()), jax.jit(lambda params, *given: model.apply({"params": params}, *given))


def test_agents_answers_follow_their_slots(trained):
  params, apply = trained
  x, valid, place, batch = inputs()
  order = jnp.array([2, 0, 3, 1])
  before = apply(params, x, valid, place, batch)
  after = apply(
    params, x, valid, place, {name: v[:, :, order] if "TxK" in name else v for name, v in batch.items()}
  )
  for name, value in before.items():
    if "TxK" in name:
      value = value[:, :, order]
    if name == "affinity_BxTxKxJ":
      value = value[..., jnp.append(order, 4)]
    np.testing.assert_allclose(after[name], value, atol=1e-4, err_msg=name)


def test_tokens_that_are_not_valid_are_read_by_nobody(trained):
  params, apply = trained
  x, valid, place, batch = inputs()
  valid = valid.at[:, :, 2].set(False)
  before = apply(params, x, valid, place, batch)
  after = apply(params, x.at[:, :, 2].set(1e3), valid, place, batch)
  for name in before:
    np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_boxes_that_are_absent_change_nobodys_answers(trained):
  params, apply = trained
  x, valid, place, batch = inputs()
  before = apply(params, x, valid, place, batch)
  after = apply(
    params, x, valid, place, batch | {"boxes_BxTxKx7": batch["boxes_BxTxKx7"].at[0, :, 3].set(jnp.nan)}
  )
  for name in before:
    np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_forecasts_turn_with_their_boxes(trained):
  """A box turned on the spot: what its head answers is told in the ego frame, from the box's centre.

  Nobody is tracked.
  """
  params, apply = trained
  params = params | {"forecasting": jnp.zeros_like(params["forecasting"])}  # the same answer for every box
  x, valid, place, batch = inputs()
  boxes = batch["boxes_BxTxKx7"]
  batch |= {"agent_BxTxK": jnp.arange(2 * STEPS * 4).reshape(2, STEPS, 4)}
  ahead = apply(params, x, valid, place, batch | {"boxes_BxTxKx7": boxes.at[..., 6].set(0.0)})
  left = apply(params, x, valid, place, batch | {"boxes_BxTxKx7": boxes.at[..., 6].set(jnp.pi / 2)})
  name, there = "forecast_mean_BxTxKxNxFx2", batch["present_BxTxK"][..., None, None, None]
  centre = boxes[..., None, None, :2]
  a, b = (jnp.where(there, found[name] - centre, 0) for found in (ahead, left))
  np.testing.assert_allclose(b, jnp.stack([-a[..., 1], a[..., 0]], -1), atol=1e-3)


def test_a_plan_begins_as_going_on():
  """At 3 m/s and - 1 m/s^2 for steps of half a second, when heads answer zero: 3 t - t^2 / 2."""
  model = Heads(dataclasses.replace(CONFIG, names=("plan",)))
  x, valid, place, batch = inputs()
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), x, valid, place, batch))
  zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
  mean = model.apply(zeros, x, valid, place, batch)["plan_mean_BxTxNxFx2"]
  np.testing.assert_allclose(mean[1, 2, 0], [[1.375, 0], [2.5, 0], [3.375, 0]])


def test_forecasts_begin_as_going_on():
  """An ego on a circle among agents of constant velocity: where each will be, in the frame of every step."""
  *pose, state = test_geometry.drive()
  velocity, start = np.array([[5.0, -1.0], [0.0, 0.0]]), np.array([[9.0, 1.0], [4.0, 4.0]])

  def there(steps_T):
    seconds = np.asarray(steps_T)[:, None, None] * test_geometry.SECONDS
    return test_geometry.seen(start + seconds * velocity, *pose)

  boxes = jnp.zeros((1, STEPS, 4, 7)).at[:, :, :2, :2].set(there(range(STEPS))).at[..., 3:6].set(1.0)
  present = jnp.zeros((1, STEPS, 4), bool).at[:, :, :2].set(True)
  batch = {"boxes_BxTxKx7": boxes, "present_BxTxK": present, "ego_BxTxS": state}
  batch |= {
    "class_BxTxK": jnp.zeros((1, STEPS, 4), int),
    "agent_BxTxK": jnp.broadcast_to(jnp.arange(4), (1, STEPS, 4)),
  }
  model = Heads(dataclasses.replace(CONFIG, names=("forecasting",), step_seconds=test_geometry.SECONDS))
  x, valid = jnp.zeros((1, STEPS, 6, 16)), jnp.ones((1, STEPS, 6), bool)
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), x, valid, _places(6), batch))
  zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
  mean = model.apply(zeros, x, valid, _places(6), batch)["forecast_mean_BxTxKxNxFx2"]
  for f in range(CONFIG.futures):
    later = there(np.arange(STEPS) + f + 1)
    np.testing.assert_allclose(mean[0, 1:, :2, 0, f], later[0, 1:], atol=1e-3)
    np.testing.assert_allclose(mean[0, 0, :2, 0, f], boxes[0, 0, :2, :2], atol=1e-6)  # not tracked yet


def test_a_head_that_looks_close_by_reads_the_token_under_its_query():
  """Queries and keys of zero: a reach of a hundredth of a patch leaves only what is nearest and what has no place."""
  config = ReadConfig(8, 8, 8, "float32")
  model = CrossAttention(config)
  y, x = jnp.zeros((1, 2, 8)), jax.random.normal(jax.random.key(0), (1, 3, 8))
  apart = jnp.array([[[0.0, 4.0, 0.0], [4.0, 0.0, 0.0]]])  # the last token is nowhere
  valid = jnp.array([[True, True, False]])
  params = nn.unbox(model.init(jax.random.key(0), y, x, valid, apart)["params"])
  eye = jnp.eye(8).reshape(8, 1, 8)
  params |= {"q": 0 * eye, "k": 0 * eye, "v": eye, "o": eye.reshape(1, 8, 8)}

  def read(octave, valid):
    changed = params | {"reach_scale": jnp.array([octave])}
    return model.apply({"params": changed}, y, x, valid, apart)

  near = np.log2(0.01)
  np.testing.assert_allclose(read(near, valid), x[:, :2], atol=1e-5)
  everywhere = read(near, jnp.ones((1, 3), bool))
  np.testing.assert_allclose(everywhere, 0.5 * (x[:, :2] + x[:, 2:]), atol=1e-5)
  w = np.exp(-2.0)  # a reach of one patch: 4 / 2 nats less for the token two patches away
  np.testing.assert_allclose(read(0.0, valid)[0, 0], (x[0, 0] + w * x[0, 1]) / (1 + w), rtol=1e-5)


def test_what_tracking_reads_does_not_hang_on_who_is_who(trained):
  """Its answers may not give its labels away."""
  params, apply = trained
  x, valid, place, batch = inputs()
  before = apply(params, x, valid, place, batch)
  after = apply(params, x, valid, place, batch | {"agent_BxTxK": jnp.zeros((2, STEPS, 4), int)})
  assert float(jnp.abs(before["forecast_mean_BxTxKxNxFx2"] - after["forecast_mean_BxTxKxNxFx2"]).max()) > 1e-3
  np.testing.assert_array_equal(before["affinity_BxTxKxJ"], after["affinity_BxTxKxJ"])


def test_a_policy_reads_no_step_to_come():
  perception = perception_config("factorised", ("ego", "raster"), 1)
  width = perception.trunk.width
  heads = dataclasses.replace(CONFIG, names=EGO_HEADS, read=ReadConfig(width, width, 8, "float32"), learned=0)
  model = PolicyModel(PolicyConfig(perception, heads))
  batch = sensor_batch(perception)
  params = drawn(model.init, batch)
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
