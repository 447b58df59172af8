"""The training step: every mesh is one device, gradients of sums, guarded updates, counted collectives."""

import dataclasses
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data import context
from data.errors import BadInput
from experiments import mesh as meshes
from experiments import step as steps
from experiments.config import Optimizer
from experiments.optimizer import make_optimizer, schedule
from experiments.task import Task
from models.motion import MotionModel
from models.motion_config import MotionConfig
from objectives import next_token
from tests.worlds import random_batch

OPTIMIZER = Optimizer(
  learning_rate=3e-3, base_width=16, schedule="cosine", warmup=0.1, final=0.1, weight_decay=0.01, clip=1.0,
  b1=0.9, b2=0.98, accumulate=1,
)  # fmt: skip
MESHES = {
  "data": (8, 1, 1, 1), "fsdp": (1, 8, 1, 1), "tensor": (4, 1, 2, 1), "sequence": (4, 1, 1, 2),
  "all": (1, 2, 2, 2),
}  # fmt: skip


def _config(scan=False):
  return MotionConfig(
    width=32, layers=2, head_dim=16, factors=(15, 17), features=context.FEATURES, steps=8, agents=8,
    dtype="float32", scan=scan, remat="none", adapter=0, prefix=0, heads=0, hidden=0,
  )  # fmt: skip


def _setup(mesh, accumulate=1, batch_size=8, scan=False):
  config = _config(scan)
  model = MotionModel(config)
  tx = make_optimizer(OPTIMIZER, 20, config.width)
  loss_fn = next_token.make_loss(model.apply, 1e-4, domains=3)
  task = Task(model, model.init, loss_fn, loss_fn, (), lambda stacked: stacked)
  key = jax.device_put(jax.random.key(0), jax.NamedSharding(mesh, jax.P()))
  batch = random_batch(batch_size)
  spec, init = steps.abstract_state(task, tx, mesh, batch, key)
  return init(key), steps.make_step(task, tx, mesh, spec, accumulate), meshes.put_batch(batch, mesh), key


def _losses(mesh, count, **kwargs):
  state, step, batch, key = _setup(mesh, **kwargs)
  losses = []
  for _ in range(count):
    state, metrics = step(state, batch, key)
    losses.append(float(metrics["loss"]))
  return np.array(losses), state


@pytest.fixture(scope="module")
def one_device():
  return _losses(meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1]), 20)


@pytest.mark.parametrize("name", MESHES)
def test_every_mesh_is_one_device(name, one_device):
  losses, state = _losses(meshes.make_mesh(*MESHES[name]), 20)
  np.testing.assert_allclose(losses, one_device[0], rtol=1e-5)
  assert one_device[0][-1] < one_device[0][0] - 0.3, "the loss does not fall: the comparison shows nothing"
  sharding = state["params"]["pair_0"]["time"]["mlp"]["up"].sharding.spec
  moments = jax.tree.leaves(state["opt"])
  assert all(leaf.sharding.mesh.size == 8 for leaf in moments)
  if name in ("fsdp", "all"):
    assert sharding[0] == "fsdp"


def test_accumulation_does_not_depend_on_the_cut(one_device):
  mesh = meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])
  losses, _ = _losses(mesh, 5, accumulate=4)
  np.testing.assert_allclose(losses, one_device[0][:5], rtol=1e-5)


# Collectives in the compiled step. A rise means that a sharding annotation was lost: look before raising it.
COLLECTIVES = {
  "data": {"all-reduce": 1, "all-gather": 0, "all-to-all": 0, "collective-permute": 0},
  "fsdp": {"all-reduce": 14, "all-gather": 13, "all-to-all": 0, "collective-permute": 0},
  "tensor": {"all-reduce": 14, "all-gather": 2, "all-to-all": 0, "collective-permute": 0},
  "sequence": {"all-reduce": 3, "all-gather": 6, "all-to-all": 0, "collective-permute": 1},
}


@pytest.mark.parametrize(("name", "accumulate"), [*((name, 1) for name in COLLECTIVES), ("data", 2)])
def test_collectives_are_counted(name, accumulate):
  state, step, batch, key = _setup(meshes.make_mesh(*MESHES[name]), accumulate, batch_size=16)
  text = step.lower(state, batch, key).compile().as_text()
  found = {op: len(re.findall(rf"\b{op}(?:-start)?\(", text)) for op in COLLECTIVES[name]}
  assert found == COLLECTIVES[name]


def test_the_old_state_is_donated():
  state, step, batch, key = _setup(meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1]))
  step(state, batch, key)
  assert state["params"]["head"].is_deleted()


def test_a_non_finite_batch_changes_nothing_and_is_reported():
  mesh = meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])
  state, step, batch, key = _setup(mesh)
  before = jax.tree.map(np.asarray, state)
  poisoned = batch | {"features_BxTxAxF": batch["features_BxTxAxF"].at[0, 0, 0, 0].set(jnp.nan)}
  assert bool(batch["mask_BxTxA"][0, 0, 0])
  state, metrics = step(state, poisoned, key)
  assert float(metrics["finite"]) == 0
  for name in ("params", "opt"):
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, state[name]), before[name])
  state, metrics = step(state, batch, key)
  assert float(metrics["finite"]) == 1 and int(state["step"]) == 2


def test_embeddings_and_norms_do_not_decay():
  mesh = meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])
  state, *_ = _setup(mesh)
  params = jax.tree.map(np.asarray, state["params"])
  tx = make_optimizer(OPTIMIZER, 20, 32)
  zero = jax.tree.map(np.zeros_like, params)
  opt = tx.init(params)
  _, opt = tx.update(zero, opt, params)  # the first step of a warm-up has rate 0
  updates, _ = tx.update(zero, opt, params)
  assert not updates["before"].any() and not updates["final_norm"]["scale"].any()
  rate = float(schedule(OPTIMIZER, 20)(1))
  np.testing.assert_allclose(updates["head"], -rate * 0.01 * params["head"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
def test_schedules_warm_up_peak_and_end(kind):
  rate = schedule(dataclasses.replace(OPTIMIZER, schedule=kind), 1000)
  assert float(rate(0)) == 0
  assert float(rate(100)) == pytest.approx(3e-3)
  assert float(rate(1000)) == pytest.approx(3e-4, rel=1e-4)
  assert float(rate(800)) == pytest.approx(3e-3) if kind == "wsd" else float(rate(800)) < 2e-3


class _Pod:
  """A mesh over devices of several processes, of which this one is the first."""

  def __init__(self, sizes, owners):
    self.shape = dict(zip(meshes.AXES, sizes, strict=True))
    devices = [types.SimpleNamespace(process_index=owner) for owner in owners]
    self.devices = np.array(devices).reshape(sizes)


@pytest.mark.parametrize(
  ("sizes", "owners", "share"),
  [
    ((8, 1, 1, 1), [0] * 4 + [1] * 4, (0, 2)),
    ((4, 2, 1, 1), [1] * 4 + [0] * 4, (1, 2)),
    ((2, 1, 4, 1), [0] * 4 + [1] * 4, (0, 2)),
    ((1, 1, 8, 1), [0] * 4 + [1] * 4, (0, 1)),  # both hold all rows
    ((2, 1, 2, 2), [0, 1, 0, 1, 2, 3, 2, 3], (0, 2)),  # 0 and 1 share a row, 2 and 3 the other
    ((4, 1, 2, 1), [0, 0, 1, 1, 0, 0, 1, 1], (0, 2)),  # rows 0 and 2
  ],
)
def test_processes_that_hold_the_same_rows_feed_the_same_part(sizes, owners, share):
  assert meshes.batch_share(_Pod(sizes, owners)) == share


@pytest.mark.parametrize(
  ("sizes", "owners"), [((3, 1, 2, 1), [0] * 3 + [1] * 3), ((4, 1, 1, 1), [0, 0, 0, 1])]
)
def test_processes_that_share_only_some_rows_are_refused(sizes, owners):
  with pytest.raises(BadInput, match="overlapping or unequal parts of the batch"):
    meshes.batch_share(_Pod(sizes, owners))


@pytest.mark.parametrize(
  ("mesh", "batch_size", "accumulate", "words"),
  [
    ((1, 1, 8, 1), 8, 1, r"'k'\] of shape \[32, 2, 16\] cannot be cut evenly .* tensor=8"),
    ((8, 1, 1, 1), 12, 1, r"tokens_BxTxA of shape \[12, 8, 8\] cannot be cut evenly .* data=8"),
    ((8, 1, 1, 1), 8, 2, r"tokens_BxTxA of shape \[4, 8, 8\] cannot be cut evenly"),
    ((1, 8, 1, 1), 8, 3, "8 windows has no 3 equal micro-batches"),
  ],
)
def test_a_mesh_that_does_not_fit_is_refused_by_name(mesh, batch_size, accumulate, words):
  mesh, batch = meshes.make_mesh(*mesh), random_batch(batch_size)
  model = MotionModel(_config())
  task = Task(model, model.init, model.apply, model.apply, (), lambda stacked: stacked)
  spec, _ = steps.abstract_state(task, optax.sgd(1.0), mesh, batch, jax.random.key(0))
  with pytest.raises(BadInput, match=words):
    meshes.require_fit(spec, batch, accumulate, mesh)


def test_a_mesh_that_does_not_cover_the_devices_is_refused():
  with pytest.raises(BadInput, match="does not cover the 8 devices"):
    meshes.make_mesh(3, 1, 1, 1)
