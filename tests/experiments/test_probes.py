"""Probes on a schedule: at initialisation, on the way and in the row; and nothing else changes."""

import dataclasses

import jax
import numpy as np
import pytest

from data import datasets
from data.errors import BadInput
from data.windows import windows_of
from evaluation.probing.ladder import linear_scores
from evaluation.probing.sides import read_side
from experiments import loop
from experiments.config import Probe, from_dict
from experiments.configs import motion
from experiments.preemption import StopSignal
from experiments.probes import Probes
from experiments.run_directory import RunDirectory
from tests.data import tiny_datasets
from tests.worlds import straight_scene

VALUES = motion.get_config("tiny").to_dict() | {"tokens": 190, "log_every": 1}  # three steps


@pytest.fixture(scope="module")
def setup(tmp_path_factory, setup_on):
  """Of windows with two to four agents; on one device, because compiling for eight takes longer than all else."""
  out = tmp_path_factory.mktemp("probed") / "dataset"
  examples = []
  for i in range(40):
    scene = straight_scene(steps=12, agents=2 + (i // 2) % 3, dt=0.5, seed=i)
    examples.append((("train", "validation")[i % 2], scene, windows_of(scene, tiny_datasets.WINDOW, 0)))
  tiny_datasets.write(out, examples)
  VALUES["data"] |= {"dataset": str(out), "batch_windows": 6}
  return setup_on(1, from_dict(VALUES), datasets.open_dataset(out))


def probed(setup, every: int):
  return dataclasses.replace(setup, config=dataclasses.replace(setup.config, probe=Probe(every, 0)))


def test_probes_are_written_down_once_and_change_nothing(setup, tmp_path):
  rows, metrics = {}, {}
  for every in (1, 2):
    with RunDirectory.open(tmp_path / str(every), VALUES) as directory:
      if every == 1:  # left by an attempt that was killed before it saved
        directory.append_metrics({"event": "probe", "step": 0, "scores": {"agents": 0.5}})
        directory.append_metrics({"event": "probe", "step": 2, "scores": {"agents": 0.7}})
      rows[every] = loop.train(directory, probed(setup, every), StopSignal())
      metrics[every] = directory.read_metrics()
  probes = {every: [one for one in found if one.get("event") == "probe"] for every, found in metrics.items()}
  assert rows[1]["steps"] == 3  # whose probes are in the row
  assert [one["step"] for one in probes[1]] == [0, 1, 2] and [one["step"] for one in probes[2]] == [0, 2]
  assert probes[1][0]["scores"] == {"agents": 0.5}
  assert probes[1][2] == probes[2][1]
  trained = {every: [one for one in found if one not in probes[every]] for every, found in metrics.items()}
  assert trained[1] == trained[2] and rows[1]["loss"] == rows[2]["loss"]
  assert rows[1]["probes"] == rows[2]["probes"] != {}

  # The level at initialisation, cut into other batches, the last of which is not full.
  params = setup.init(setup.key)["params"]
  embed = jax.jit(setup.task.embed)
  features = {"trained": lambda stacked: embed(params, setup.task.to_batch(stacked))}
  sides = [
    read_side(setup.dataset, split, 0, setup.task.fields, features, 7) for split in ("train", "validation")
  ]
  scenes = [set(side.scene_N.tolist()) for side in sides]
  assert [len(some) for some in scenes] == [20, 20] and not scenes[0] & scenes[1]
  assert all(len(side.scene_N) > 20 for side in sides)
  assert probes[2][0]["scores"] == pytest.approx(linear_scores(*sides), abs=1e-3)
  assert probes[2][0]["scores"].keys() == rows[2]["probes"].keys()


def test_a_run_without_a_schedule_is_not_probed(setup):
  silent = dataclasses.replace(setup, task=dataclasses.replace(setup.task, embed=None))
  assert Probes(silent).scores({}) == {} and not Probes(silent).due(0)
  with pytest.raises(BadInput, match="has no features to read; set it to 0"):
    Probes(probed(silent, 5))


def test_features_of_a_window_do_not_know_who_is_not_there(setup):
  """The mean is over valid slots: what an empty slot holds does not matter, what a taken one holds does."""
  batch = setup.task.to_batch(setup.source.stacked(np.arange(6)))
  params, there = setup.init(setup.key)["params"], batch["valid_BxTxA"][..., None]
  embed = jax.jit(setup.task.embed)
  before = embed(params, batch)
  assert before.shape == (6, 8) and before.dtype == np.float32
  features = batch["features_BxTxAxF"]
  assert not there.all()
  other = embed(params, batch | {"features_BxTxAxF": np.where(there, features, np.float16(3.0))})
  np.testing.assert_allclose(other, before, atol=1e-5)
  moved = embed(params, batch | {"features_BxTxAxF": np.where(there, np.float16(3.0), features)})
  assert np.abs(moved - before).max() > 1e-2
