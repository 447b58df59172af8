"""Every task on every mesh is the task on one device: its losses, its gradients, and what moves without one."""

import dataclasses
import functools
import json
import pathlib
import tempfile

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from data.clips import CELL_CLASSES
from data.codes import CodesConfig
from data.windows import WindowConfig
from experiments import mesh as meshes
from experiments import step as steps
from experiments.config import from_dict
from experiments.configs import codes, driving_distil, motion, motion_distil, tokeniser
from experiments.task import make_task
from objectives import collapse
from tests.experiments import test_driving_tasks as driving
from tests.experiments import test_perception_tasks as perception
from tests.worlds import random_batch

CLIPS, ROWS = perception.CLIPS, perception.ROWS
WINDOW = CodesConfig(steps=2, places=4, codes=8, actions=2)
MOVES = WindowConfig(dt=0.5, steps=4, agents=4, points=8, stops=1, phases=1, least_moves=4)
TEACHERS = tempfile.TemporaryDirectory()
ALL = "data, fsdp and tensor"
MESHES = {
  "data": (4, 1, 1, 1),
  "fsdp": (1, 4, 1, 1),
  "tensor": (1, 1, 2, 1),
  ALL: (2, 2, 2, 1),
}


def _frames():
  rng = np.random.default_rng(0)
  return {
    "codes_TxS": rng.integers(0, WINDOW.codes, (ROWS, WINDOW.steps, WINDOW.places)).astype(np.uint16),
    "actions_T": rng.integers(0, WINDOW.actions, (ROWS, WINDOW.steps)).astype(np.uint16),
    "mask_T": rng.random((ROWS, WINDOW.steps)) < 0.9,
    "domain": np.arange(ROWS, dtype=np.uint8) % 2,
  }


def _grids():
  cells = np.random.default_rng(0).integers(0, len(CELL_CLASSES), (ROWS, CLIPS.steps, CLIPS.grid, CLIPS.grid))
  return {"cells_TxHxW": cells.astype(np.uint8), "domain": np.arange(ROWS, dtype=np.uint8) % 2}


def _moves():
  batch = random_batch(ROWS, MOVES.steps, MOVES.agents)
  batch["domain_B"] %= 2
  return {
    name.replace("BxTxA", "TxA").replace("_BxA", "_A").replace("_B", ""): v for name, v in batch.items()
  }


def _sized(module, **model):
  return from_dict(_values(module, **model))


def _values(module, **model):
  values = module.get_config("tiny").to_dict()
  values["model"] |= dict(width=16, head_dim=8) | model
  return values


def _following(student, teacher):
  """A student whose teacher's run says no more than its configuration."""
  run = pathlib.Path(TEACHERS.name) / student["objective"]
  run.mkdir(exist_ok=True)
  (run / "config.json").write_text(json.dumps(teacher))
  return from_dict(student | {"loss": student["loss"] | {"teacher": str(run)}})


def _follows_moves():
  return _following(_values(motion_distil), _values(motion))


def _follows_a_policy():
  teacher = driving._values("policy")
  teacher["model"] |= dict(mixing="full", layers=1)
  student = driving_distil.get_config("tiny").to_dict()
  loss = {name: student["loss"][name] for name in ("teacher", "weight", "temperature")}
  return _following(teacher | {"objective": student["objective"], "loss": teacher["loss"] | loss}, teacher)


def _recurrent(config):
  model = dataclasses.replace(config.model, mixing="hybrid", state=4, chunk=2)
  return dataclasses.replace(config, model=model)


# Task: (configuration, shapes of records, records). Motion: test_step.py.
TASKS = {
  **{
    name: (lambda name=name: perception._config(name), CLIPS, perception._stacked)
    for name in ("masked", "jepa", "contrastive", "self_distillation")
  },
  "multi_task": (driving.every_head, CLIPS, driving._clips),
  "flow": (lambda: _recurrent(driving._config("flow")), CLIPS, driving._clips),
  "diffusion": (lambda: driving._config("diffusion_cells"), CLIPS, driving._clips),
  "tokeniser": (lambda: _sized(tokeniser, layers=1), CLIPS, _grids),
  "distillation": (_follows_moves, MOVES, _moves),
  "policy_distillation": (_follows_a_policy, CLIPS, driving._clips),
  "codes": (lambda: _sized(codes, mixing="full", past_layers=1, frame_layers=1), WINDOW, _frames),
}


@functools.cache
def _task(name):
  """(task, its batch, weights without the zeros of fresh output projections, which would hide most gradients)."""
  config, shapes, records = TASKS[name]
  task, stacked = make_task(config(), shapes, 2), records()
  batch = task.to_batch({field: stacked[field] for field in task.fields})
  params = jax.jit(lambda key: nn.unbox(task.init(key, batch)["params"]))(jax.random.key(0))
  params = jax.tree.map(lambda p: np.asarray(p) + 0.05 * np.cos(np.arange(p.size)).reshape(p.shape), params)
  return task, batch, jax.tree.map(lambda p: p.astype(np.float32), params)


@functools.cache
def _stepped(name, sizes):
  """(report, gradients, weights) of a step whose update is the gradient: on the mesh, by the real shardings."""
  task, batch, params = _task(name)
  tx = optax.trace(decay=0.0)  # its state is the gradient
  mesh = meshes.make_mesh(*sizes, devices=jax.devices()[: int(np.prod(sizes))])
  key = meshes.make_key(1, mesh)
  spec, _ = steps.abstract_state(task, tx, mesh, batch, key)
  learning = steps.select(params, task.trainable)
  fresh = {"params": params, "opt": tx.init(learning), "step": np.int32(0)}
  state = jax.device_put(fresh, jax.tree.map(lambda leaf: leaf.sharding, spec))
  state, report = steps.make_step(task, tx, mesh, spec, 1)(state, meshes.put_batch(batch, mesh), key)
  if sizes[1:] != (1, 1, 1):
    cut = [leaf for leaf in jax.tree.leaves(state["opt"]) if not leaf.sharding.is_fully_replicated]
    assert cut, "nothing is split: the comparison shows nothing"
  if collapse.GRAM in report:
    report["feature_rank"] = collapse.effective_rank(report.pop(collapse.GRAM))
  return jax.tree.map(np.asarray, (report, state["opt"].trace, state["params"]))


# Each axis by itself for a recurrence, the batch's for a codebook that moves without a gradient; all three at once for
# every task, as a compile for each axis would take minutes.
ALONE = {"flow": ("data", "fsdp", "tensor"), "tokeniser": ("data",)}
CASES = [(name, mesh) for name in TASKS for mesh in MESHES if mesh in (*ALONE.get(name, ()), ALL)]


# Of two steps the first alone has a next one, and over time it attends to nobody but itself.
ALONE_IN_TIME = "['perception']['trunk']['unit_0']['time']['attention']"
IDLE = {"diffusion": {f"{ALONE_IN_TIME}['q']", f"{ALONE_IN_TIME}['k']"}}


@pytest.mark.parametrize(("name", "mesh"), CASES)
def test_every_task_on_every_mesh_is_one_device(name, mesh):
  report, gradients, params = _stepped(name, (1, 1, 1, 1))
  assert report["finite"] and report["gradient_norm"] > 0
  learned = {
    jax.tree_util.keystr(path): np.abs(leaf).max() > 0 for path, leaf in jax.tree.leaves_with_path(gradients)
  }
  idle = {path for path, found in learned.items() if not found}
  assert idle <= IDLE.get(name, set()), "a weight learns nothing"
  found_report, found_gradients, found_params = _stepped(name, MESHES[mesh])
  for field, value in report.items():
    np.testing.assert_allclose(found_report[field], value, rtol=1e-5, atol=1e-6, err_msg=field)

  def same(expected, found):
    # Of weights all but unused.
    rounding = 1e-8 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))

    def leaf(path, one, many):
      atol = 1e-5 * np.abs(one).max() + rounding
      np.testing.assert_allclose(many, one, rtol=0, atol=atol, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(leaf, expected, found)

  same(gradients, found_gradients)
  same(params, found_params)
