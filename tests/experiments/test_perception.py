"""A perception task from a dataset of clips to a run: steps, restarts, meshes, held-out loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import datasets
from data.errors import BadInput
from experiments import mesh as meshes
from experiments import step as steps
from experiments.attempt import Attempt
from experiments.config import from_dict
from experiments.configs.perception import get_config
from experiments.evaluate import evaluate
from experiments.optimizer import make_optimizer
from experiments.run_directory import RunDirectory
from experiments.setup import make_setup, stream
from experiments.task import make_task
from tests.data import clip_dataset, random_clips, tiny_datasets
from tests.weights import drawn

CLIPS = random_clips.tiny_config(steps=2)
STEPS, BATCH = 2, 8


def _values(**data) -> dict:
  values = get_config("masked:tiny").to_dict()
  values["model"] |= {"width": 8, "lidar_channels": 4, "grid_patch": 8, "camera_patch": 8}
  values["loss"]["hide"]["ratio"] = 0.5
  values["loss"]["predictor"]["width"] = 8
  values["data"] |= {"batch_windows": BATCH} | data
  values["mesh"] |= {"data": 2, "fsdp": 2, "tensor": 1, "sequence": 2}
  values["tokens"] = STEPS * BATCH * CLIPS.steps * (1 + 4 + 4 + 2 * 8)  # ego, raster, LiDAR, two cameras
  return values


def _task(values=None):
  return make_task(from_dict(values or _values()), CLIPS, len(clip_dataset.DOMAINS))


def _stacked(count: int, seed: int = 0) -> dict[str, np.ndarray]:
  batch = random_clips.random_clips(CLIPS, count, seed)
  return {name: batch[random_clips.batch_name(name)] for name in CLIPS.spec}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
  out = tmp_path_factory.mktemp("clips") / "dataset"
  clip_dataset.write(out, CLIPS, {"train": 20, "validation": 11})
  return make_setup(from_dict(_values(dataset=str(out))), datasets.open_dataset(out))


@pytest.fixture(scope="module")
def trained(setup, tmp_path_factory):
  """The state after two steps without a stop."""
  with RunDirectory.open(tmp_path_factory.mktemp("whole") / "run", _values()) as directory:
    attempt = Attempt(directory, setup)
    for _ in range(STEPS):
      attempt.advance()
    attempt.finish()
    state = jax.tree.map(np.asarray, attempt.state)
    attempt.close()
  return state


def test_the_budget_is_counted_in_tokens_of_whole_clips(setup):
  assert setup.total == STEPS and setup.tokens_per_record == setup.task.tokens
  assert setup.task.tokens == CLIPS.steps * 25


def test_a_restart_continues_bit_for_bit(setup, trained, tmp_path):
  with RunDirectory.open(tmp_path / "run", _values()) as directory:
    for done in range(STEPS):
      attempt = Attempt(directory, setup)
      assert attempt.done == done
      attempt.advance()
      attempt.save()
      attempt.finish()
      attempt.close()
  assert attempt.at.tokens == STEPS * BATCH * setup.task.tokens
  jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, attempt.state), trained)


def test_eight_devices_are_one(setup, trained):
  mesh = meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])
  config, task, key = setup.config, setup.task, meshes.make_key(setup.config.seed, mesh)
  tx = make_optimizer(config.optimizer, setup.total, config.model.width)
  batches = [
    jax.tree.map(np.asarray, batch) for batch, _ in zip(stream(setup, 0), range(STEPS), strict=False)
  ]
  spec, init = steps.abstract_state(task, tx, mesh, batches[0], key)
  step, state = steps.make_step(task, tx, mesh, spec, 1), init(key)
  before = jax.tree.map(np.asarray, state["params"])
  for batch in batches:
    state, metrics = step(state, meshes.put_batch(batch, mesh), key)
  assert float(metrics["finite"]) == 1
  after = jax.tree.map(np.asarray, state["params"])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), after, trained["params"])
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after, before)
  assert max(jax.tree.leaves(moved)) > 5e-4, "nothing has moved: the comparison shows nothing"


def test_held_out_records_count_once_and_by_domain(setup, trained, monkeypatch):
  """Eleven clips on four rows: the batch is filled up with one that counts nothing."""
  seen = []
  held_out = setup.task.held_out

  def spy(params, batch, key):
    metrics = held_out(params, batch, key)
    jax.debug.callback(lambda real, count: seen.append((real, count)), batch["real_B"], metrics["loss"][1])
    return metrics

  task = dataclasses.replace(setup.task, held_out=spy)
  found = evaluate(task, setup.dataset, setup.mesh, trained["params"], "validation")
  jax.effects_barrier()
  ((real, count),) = {(int(np.sum(real)), float(count)) for real, count in seen}
  assert real == 11
  hidden = 2 + 2 + 2 * 4  # half of the raster's, the LiDAR's and two cameras' tokens
  assert count == 11 * CLIPS.steps * hidden  # all sweeps of random clips have echoes
  assert found["by_slice"].keys() == {"loss_camera", "loss_lidar", "loss_raster", *clip_dataset.DOMAINS}
  mean = (2 * found["by_slice"]["loss_raster"] + 2 * found["by_slice"]["loss_lidar"]) / hidden
  assert found["loss"] == pytest.approx(mean + 8 * found["by_slice"]["loss_camera"] / hidden, rel=1e-5)


def test_what_fills_up_a_batch_changes_nothing():
  task = _task()
  stacked = _stacked(2)
  real = np.array([True, False])
  first = task.to_batch(stacked | {"real": real})
  other = _stacked(2, seed=1)
  second = task.to_batch(
    {name: np.stack([stacked[name][0], other[name][1]]) for name in stacked} | {"real": real}
  )
  key = jax.random.key(3)
  params = drawn(task.init, first)
  loss = jax.jit(task.loss_fn)
  a, b = loss(params, first, key), loss(params, second, key)
  jax.tree.map(np.testing.assert_array_equal, a, b)
  embedded = jax.jit(task.embed)(params, first)
  assert embedded.shape == (2, 8) and bool(jnp.isfinite(embedded).all())


def test_windows_are_refused():
  with pytest.raises(BadInput, match="reads clips, the dataset holds windows"):
    make_task(from_dict(_values()), tiny_datasets.WINDOW, 1)


def test_an_objective_of_another_family_is_refused():
  values = _values()
  values |= {"objective": "next_token", "loss": {"z_weight": 0.0}}
  with pytest.raises(BadInput, match=r"perception has no objective next_token.*perception with masked"):
    _task(values)
