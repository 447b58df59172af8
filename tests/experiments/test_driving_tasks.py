"""Driving tasks: they learn a batch by heart, judge samples, and answer configurations that cannot be."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.clips import BOX_CLASSES, CELL_CLASSES, ELEMENT_CLASSES
from data.errors import BadInput
from experiments import config as configs
from experiments.configs import driving
from experiments.mesh import make_key, make_mesh, put_batch
from experiments.optimizer import make_optimizer
from experiments.step import abstract_state, make_eval, make_step
from experiments.task import make_task, record_batch
from experiments.tasks import generative, perception
from models.geometry import ego_straight_on
from objectives import draws
from tests.experiments.test_perception_tasks import CLIPS, ROWS, _stacked
from tests.experiments.test_perception_tasks import _config as self_supervised
from tests.weights import drawn

STEPS = 40


def _config(name: str, **loss):
  return configs.from_dict(_values(name, **loss))


def _values(name: str, **loss) -> dict:
  values = driving.get_config(f"{name}:tiny").to_dict()
  sensors = "ego,lidar" if name == "multi_task" else "ego,raster"
  values["model"] |= dict(width=16, layers=2, grid_patch=8, lidar_channels=4, sensors=sensors)
  values["loss"] |= dict(patch=8) | loss
  if "denoiser" in values["loss"]:
    values["loss"] |= dict(denoiser=dict(width=16, layers=1, head_dim=8), samples=2, sample_steps=2)
  values["optimizer"] |= dict(learning_rate=0.01)
  values["data"] |= dict(batch_windows=ROWS)
  return values


def _clips():
  """Random clips with classes that exist, and futures of a few metres."""
  found = _stacked()
  for name, classes in (
    ("cells_TxHxW", CELL_CLASSES),
    ("class_K", BOX_CLASSES),
    ("element_class_TxM", ELEMENT_CLASSES),
  ):
    found[name] = found[name] % len(classes)
  found["agent_K"] = np.broadcast_to(np.arange(CLIPS.boxes, dtype=np.int32), found["agent_K"].shape)
  return found


def every_head():
  """All heads at once, with learned weights, on a trunk of one layer: it is the heads that take long to compile."""
  config = _config("multi_task", learned=True, weights={name: 1.0 for name in driving.NO_HEADS})
  return dataclasses.replace(config, model=dataclasses.replace(config.model, mixing="full", layers=1))


@pytest.mark.parametrize("name", ["multi_task", "diffusion"])
def test_a_task_learns_a_batch_by_heart(name):
  config = every_head() if name == "multi_task" else _config(name)
  task = make_task(config, CLIPS, 2)
  stacked = _clips()
  batch = task.to_batch({field: stacked[field] for field in task.fields})
  mesh, tx = make_mesh(1, 1, 1, 1, jax.devices()[:1]), make_optimizer(config.optimizer, STEPS, 16)
  key = make_key(0, mesh)
  spec, init = abstract_state(task, tx, mesh, batch, key)
  step, batch, state = make_step(task, tx, mesh, spec, 1), put_batch(batch, mesh), init(key)
  reports = []
  for _ in range(STEPS):
    state, report = step(state, batch, key)
    reports.append({field: float(value) for field, value in report.items()})
  assert all(report["finite"] for report in reports)
  first, last = (np.mean([report["loss"] for report in part]) for part in (reports[:5], reports[-5:]))
  assert last < 0.8 * first
  if name == "multi_task":  # judged by what it is trained by
    return
  evaluate = make_eval(task.held_out, mesh)
  first, again = (jax.tree.map(np.asarray, evaluate(state["params"], batch, key)) for _ in range(2))
  assert {"minADE", "ADE", "constant_velocity"} < first.keys()
  for field, (total, count) in first.items():
    assert np.isfinite(total).all() and (count >= 0).all(), field
    np.testing.assert_array_equal(total, again[field][0])


def test_samples_are_judged_by_what_came():
  """What came, drawn twice, is without error; so is constant velocity, for an ego that keeps its own."""
  stacked = _clips()
  batch = record_batch(("ego_TxS", "future_TxFx2", "future_mask_TxF", "cells_TxHxW"))(stacked)
  plan, cells = generative.Plan(CLIPS), generative.Cells(CLIPS, 8)
  for kind, perfect in ((plan, {"minADE": 0, "ADE": 0}), (cells, {"accuracy": 1})):
    data, _ = kind.target(batch)
    assert data.shape[2:] == (kind.tokens, kind.channels)
    found = kind.judge(np.stack([data, data]), batch)
    for name, value in perfect.items():
      total, count = found[name]
      np.testing.assert_allclose(total, value * count, atol=1e-3)
  copied = found["copy_accuracy"]
  still = (batch["cells_BxTxHxW"][:, 1:] == batch["cells_BxTxHxW"][:, :-1]).mean()
  np.testing.assert_allclose(copied[0] / copied[1], still, rtol=1e-5)
  straight = batch | {
    "future_BxTxFx2": np.asarray(ego_straight_on(batch["ego_BxTxS"], CLIPS.futures, CLIPS.step_seconds))
  }
  data, _ = plan.target(straight)
  np.testing.assert_allclose(data, 0, atol=1e-5)
  assert float(plan.judge(data[None], straight)["constant_velocity"][0]) == pytest.approx(0, abs=1e-4)


def test_a_fill_record_counts_nowhere():
  task = make_task(_config("policy"), CLIPS, 2)
  stacked = _clips()
  stacked = {field: stacked[field] for field in task.fields}
  filled = {field: np.concatenate([v, np.zeros_like(v[:1])]) for field, v in stacked.items()}
  filled["real"] = np.arange(ROWS + 1) < ROWS
  batches = [task.to_batch(records) for records in (stacked, filled)]
  params = drawn(task.init, batches[0])
  loss = jax.jit(task.held_out)
  before, after = (loss(params, batch, jax.random.key(0)) for batch in batches)
  for field in before:
    np.testing.assert_allclose(before[field][0], after[field][0], rtol=1e-4, err_msg=field)
    np.testing.assert_array_equal(before[field][1], after[field][1], err_msg=field)


def test_configurations_that_cannot_be_are_answered():
  values = driving.get_config("policy:tiny").to_dict()
  values["model"] |= dict(causal=False)
  with pytest.raises(BadInput, match="causal"):
    make_task(configs.from_dict(values), CLIPS, 2)
  with pytest.raises(BadInput, match="heads are none"):
    make_task(_config("policy", weights=driving.NO_HEADS), CLIPS, 2)


@pytest.mark.parametrize("head", ["segmentation", "detection", "elements"])
def test_what_the_raster_shows_is_not_asked_of_who_reads_it(head):
  asked = dict(weights=driving.NO_HEADS | {head: 1.0})
  with pytest.raises(BadInput, match=f"the raster shows the labels of {head}"):
    make_task(_config("policy", **asked), CLIPS, 2)
  make_task(_config("multi_task", **asked), CLIPS, 2)
  later = dict.fromkeys(("occupancy", "forecasting", "tracking", "plan", "actions"), 1.0)
  make_task(_config("policy", weights=driving.NO_HEADS | later), CLIPS, 2)


def _rig(sensors: str):
  """A model's configuration, and a batch of many clips, the last of which has no echo."""
  values = driving.get_config("occupancy:tiny").to_dict()
  values["model"] |= dict(sensors=sensors)
  rows = 3000
  echo_BxTxP = np.ones((rows, CLIPS.steps, CLIPS.points), bool)
  echo_BxTxP[-1] = False
  batch = {"echo_BxTxP": jnp.asarray(echo_BxTxP), "real_B": jnp.ones(rows, bool)}
  return perception.perception_config(configs.from_dict(values), CLIPS), batch


def test_sensors_are_lost_at_the_stated_rate_and_never_all_of_them():
  rig, batch = _rig("ego,lidar,camera")
  for rate in (0.5, 1.0):
    sensed_BxM = np.asarray(perception.sensor_dropout(rig, rate)(batch, jax.random.key(0))["sensed_BxM"])
    assert sensed_BxM.any(1).all() and not sensed_BxM[-1, 1]
    spread = 4 * np.sqrt(0.25 / len(sensed_BxM))
    np.testing.assert_allclose(1 - sensed_BxM.mean(0), rate - rate**3 / 3, atol=spread)


def test_sensors_are_lost_by_keys_that_the_loss_does_not_draw_by(monkeypatch):
  rig, batch = _rig("ego,lidar")
  drawn, key = [], jax.random.key(0)
  monkeypatch.setattr(draws, "by_record", lambda _, own, __, x: drawn.append(own) or jnp.zeros(x.shape, bool))
  given = perception.lacking(rig, 0.5, lambda params, lost, own: own)({}, batch, key)
  assert given == key and drawn == [draws.aside(key)]


def test_a_rig_without_a_sensor_has_the_others():
  rig, batch = _rig("ego,lidar,camera")
  sensed_BxM = np.asarray(perception.without(rig, "camera", batch)["sensed_BxM"])
  assert sensed_BxM[:-1].tolist() == [[True, True, False]] * (len(sensed_BxM) - 1)
  assert sensed_BxM[-1].tolist() == [True, False, False]
  with pytest.raises(BadInput, match="raster"):
    perception.without(rig, "raster", batch)


def test_held_out_clips_keep_their_sensors():
  stacked, found = _clips(), {}
  for drop in (0.0, 1.0):
    task = make_task(_config("occupancy", drop=drop), CLIPS, 2)
    batch = task.to_batch({field: stacked[field] for field in task.fields})
    params = drawn(task.init, batch)
    for name, loss in (("train", task.loss_fn), ("held out", task.held_out)):
      found[name, drop] = float(jax.jit(loss)(params, batch, jax.random.key(1))["loss"][0])
  assert found["train", 0.0] == pytest.approx(found["held out", 0.0], rel=1e-5)
  assert found["held out", 1.0] == pytest.approx(found["held out", 0.0], rel=1e-5)
  assert found["train", 1.0] != pytest.approx(found["train", 0.0], rel=1e-4)


@pytest.mark.parametrize(
  "make",
  [
    lambda drop: _config("flow_cells", drop=drop),
    lambda drop: _config("diffusion", drop=drop),
    lambda drop: self_supervised("masked", loss=dict(drop=drop)),
    lambda drop: self_supervised("jepa", loss=dict(drop=drop)),
  ],
  ids=["flow", "diffusion", "masked", "jepa"],
)
def test_clips_lack_sensors_in_training_alone_and_only_when_asked(monkeypatch, make):
  drawn, lose = [], perception.sensor_dropout

  def spy(config, rate):
    return lambda batch, key: drawn.append(rate) or lose(config, rate)(batch, key)

  monkeypatch.setattr(perception, "sensor_dropout", spy)
  stacked, key = _clips(), jax.random.key(0)
  for drop in (0.0, 0.3):
    task = make_task(make(drop), CLIPS, 2)
    batch = task.to_batch({field: stacked[field] for field in task.fields})
    params = nn.unbox(jax.eval_shape(task.init, key, batch)["params"])
    for loss, wanted in ((task.held_out, []), (task.loss_fn, [drop] if drop else [])):
      drawn.clear()
      jax.eval_shape(loss, params, batch, key)
      assert drawn == wanted
