"""Self-supervised tasks of the perception family: they learn, teachers follow, configurations are answered."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from data.clips import ClipConfig
from data.errors import BadInput
from experiments import config as configs
from experiments import start
from experiments.configs import perception
from experiments.mesh import make_key, make_mesh, put_batch
from experiments.optimizer import make_optimizer
from experiments.step import abstract_state, make_step
from experiments.task import make_task
from objectives import collapse
from objectives.teacher import momentum

CLIPS = ClipConfig(
  rig="pair", steps=2, step_seconds=0.5, image_height=16, image_width=32, beams=4, azimuths=16, grid=16, cell_m=2.0,
  rear_m=8.0, boxes=2, futures=2, elements=2, element_points=2,
)  # fmt: skip
ROWS, STEPS = 4, 20
DEEP = dict(width=16, layers=2, head_dim=8)
CHANGING = dict(ratio=0.5, block=1, tube=False)


def _config(objective: str, **changes):
  values = perception.get_config(f"{objective}:tiny").to_dict()
  small = dict(
    grid_patch=8, camera_patch=16, width=16, layers=1, lidar_channels=4, mixing="full", sensors="raster,lidar"
  )
  values["model"] |= small | changes.pop("model", {})
  if "predictor" in values["loss"]:
    values["loss"]["predictor"] |= dict(layers=1)
  if objective == "contrastive":
    values["loss"] |= dict(views="raster,lidar")
  values["loss"] |= changes.pop("loss", {})
  values["data"] |= dict(batch_windows=ROWS)
  return configs.from_dict(values | changes)


def _stacked(clips: ClipConfig = CLIPS) -> dict[str, np.ndarray]:
  """Random clips, each of a scene of its own."""
  rng = np.random.default_rng(0)
  found = {}
  for name, (shape, dtype) in clips.spec.items():
    if dtype == np.bool_:
      found[name] = rng.random((ROWS, *shape)) < 0.9
    elif dtype == np.uint8:
      found[name] = rng.integers(0, 256, (ROWS, *shape)).astype(dtype)
    else:
      found[name] = rng.normal(0, 4, (ROWS, *shape)).astype(dtype)
  return found | {"scene": np.arange(ROWS, dtype=np.int32), "domain": np.arange(ROWS, dtype=np.uint8) % 2}


# Masked: test_perception.py.
@pytest.mark.parametrize("objective", ["jepa", "contrastive", "self_distillation"])
def test_a_task_learns_a_batch_by_heart_and_its_teacher_follows(objective):
  config = _config(objective)
  task = make_task(config, CLIPS, 2)
  stacked = _stacked()
  batch = task.to_batch({name: stacked[name] for name in task.fields})
  mesh, tx = make_mesh(1, 1, 1, 1, jax.devices()[:1]), make_optimizer(config.optimizer, STEPS, 16)
  key = make_key(0, mesh)
  spec, init = abstract_state(task, tx, mesh, batch, key)
  step, batch, state = make_step(task, tx, mesh, spec, 1), put_batch(batch, mesh), init(key)
  reports = []
  for _ in range(STEPS):
    before = jax.tree.map(np.asarray, state["params"].get("teacher"))
    state, report = step(state, batch, key)
    gram = report.pop(collapse.GRAM)
    reports.append({name: float(value) for name, value in report.items()})
  assert all(report["finite"] for report in reports)
  assert gram.shape[0] == gram.shape[1] and float(collapse.effective_rank(gram)) > 1.1
  for loss, read in ((task.loss_fn, False), (lambda *args: collapse.read(task.held_out(*args)), True)):
    assert ("eigh" in str(jax.make_jaxpr(loss)(state["params"], batch, key))) == read
  losses = [report["loss"] for report in reports]
  assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]), losses
  params = state["params"]
  if task.after:
    m = float(momentum(config.loss.momentum, STEPS - 1, config.tokens // (ROWS * task.tokens)))
    taught = params["student"]["encoder"] if objective == "jepa" else params["student"]
    jax.tree.map(
      lambda old, new, student: np.testing.assert_allclose(
        new, m * old + (1 - m) * student, rtol=1e-4, atol=1e-6
      ),
      before,
      params["teacher"],
      taught,
    )
  features = jax.jit(task.embed)(params, batch)
  assert features.shape == (ROWS, config.model.width)
  assert np.std(features, axis=0).min() > 0


@pytest.mark.parametrize("objective", ["jepa", "self_distillation"])
def test_the_teacher_is_probed_carried_and_deployed(objective):
  """What a next stage begins with has, bit for bit, the features that probes have read, and not the student's."""
  task = make_task(_config(objective), CLIPS, 2)
  assert not task.ranks, "its loss is a distance to a teacher of its own"
  stacked = _stacked()
  batch = task.to_batch({name: stacked[name] for name in task.fields})
  init, embed = jax.jit(lambda key: nn.unbox(task.init(key, batch)["params"])), jax.jit(task.embed)
  params, fresh = init(jax.random.key(0)), init(jax.random.key(1))
  params["teacher"] = jax.tree.map(lambda leaf: leaf + 0.1, params["teacher"])  # it has moved on its own
  weights = task.weights(params)
  carried = start.compare(fresh, weights, "refuse")
  begun = start.insert(fresh, weights, carried)
  np.testing.assert_array_equal(embed(begun, batch), embed(params, batch))
  student = params["student"]["encoder"] if objective == "jepa" else params["student"]
  assert np.abs(embed(begun, batch) - embed(params | {"teacher": student}, batch)).max() > 0.01
  assert all(name == "centre" for name in carried.fresh) and not carried.left
  jax.tree.map(np.testing.assert_array_equal, begun["student"], weights)


@pytest.mark.parametrize(
  ("objective", "changes", "match"),
  [
    ("masked", dict(model=dict(sensors="raster,radar")), "rig pair has no sensor 'radar'"),
    (
      "masked",
      dict(model=dict(mixing="factorised", layers=2), loss=dict(predictor=DEEP, hide=CHANGING)),
      "follows places through time",
    ),
    ("jepa", dict(model=dict(grid_patch=5)), "no multiple of the patch"),
    ("jepa", dict(loss=dict(predictor=dict(width=15, layers=1, head_dim=8))), "width 15"),
    ("contrastive", dict(loss=dict(views="raster,sonar")), "views"),
    ("self_distillation", dict(model=dict(tube=3)), "no whole tubes"),
  ],
)
def test_what_cannot_be_is_answered(objective, changes, match):
  with pytest.raises(BadInput, match=match):
    make_task(_config(objective, **changes), CLIPS, 2)


def test_a_rig_without_cameras_is_named():
  with pytest.raises(BadInput, match="rig tracks has no sensor 'lidar'"):
    make_task(_config("masked"), dataclasses.replace(CLIPS, rig="tracks"), 2)
