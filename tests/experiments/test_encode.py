"""A tokeniser is trained on clips and encodes them, split by split; a world model of its codes is rolled out."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from data import clips, dataset_writer, datasets
from data.reader import RecordSource
from experiments import config as configs
from experiments import run
from experiments.configs import codes as codes_config
from experiments.configs import tokeniser as tokeniser_config
from experiments.task import batch_name
from tests.data.random_clips import random_clips, tiny_config

SPLITS = ("train", "validation")


def _clips(out):
  config = tiny_config(rig="tracks", steps=2, grid=8)
  stacked = random_clips(config, 20)
  names = list(config.spec)
  records = [
    dict(zip(names, (stacked[batch_name(name)][i] for name in names), strict=True)) for i in range(20)
  ]
  examples = [(SPLITS[i % 2], None, [record]) for i, record in enumerate(records)]
  dataset_writer.write_dataset(out, examples, config, ("a", "b", "c"), SPLITS, {}, (config.kind,))
  return str(out)


def _program(name, *flags):
  command = [sys.executable, "-m", name, *flags]
  return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def _train(workdir, values, dataset, tokens, **model):
  values |= {"tokens": tokens}
  values["model"] |= model
  values["data"] |= {"dataset": dataset, "batch_windows": 8}
  values["mesh"] |= {"data": jax.device_count()}
  run.train(str(workdir), configs.from_dict(values), values)
  return workdir


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
  """(tokeniser's run, dataset of its codes)."""
  root = tmp_path_factory.mktemp("encoded")
  values = tokeniser_config.get_config("tiny").to_dict()
  workdir = _train(root / "run", values, _clips(root / "clips"), 8 * 2 * 64 * 3, patch=4)  # three steps
  done = _program("experiments.encode", f"--run={workdir}", f"--out={root / 'codes'}")
  assert done.returncode == 0, done.stderr
  return workdir, root / "codes"


def test_a_trained_tokeniser_encodes_clips_and_keeps_their_splits(encoded):
  workdir, out = encoded
  codes, trained = datasets.open_dataset(out), run.open_run(str(workdir))
  assert (codes.config.steps, codes.config.places, codes.config.codes) == (2, 4, 32)
  for split in SPLITS:
    cells = RecordSource(trained.dataset, split, ("cells_TxHxW",)).stacked(np.arange(10))["cells_TxHxW"]
    expected, _ = trained.task.model.apply({"params": trained.params}, cells, method="encode")
    found = RecordSource(codes, split, ("codes_TxS",)).stacked(np.arange(10))["codes_TxS"]
    np.testing.assert_array_equal(found, expected)
  assert cells.max() < len(clips.CELL_CLASSES)
  again = _program("experiments.encode", f"--run={workdir}", f"--out={out}")
  assert again.returncode == 2 and "exists already" in again.stderr


def test_a_world_model_of_codes_is_rolled_out_and_decoded(encoded, tmp_path):
  tokeniser, dataset = encoded
  values = codes_config.get_config("tiny").to_dict()
  world = _train(
    tmp_path / "run", values, str(dataset), 8 * 2 * 4 * 2, mixing="full", past_layers=1, frame_layers=1
  )
  flags = (f"--out={tmp_path / 'out'}", "--observed=1", "--samples=1")
  done = _program("evaluation.code_forecast", f"--run={world}", f"--tokeniser={tokeniser}", *flags)
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / "out" / "code_forecast.json").read_text())
  later = json.loads((world / "result.json").read_text())["loss_by_slice"]["later"]
  assert found["horizons"][0]["model"]["nats"] == pytest.approx(
    later, rel=1e-4
  )  # frame 1 of 2, both teacher-forced
  assert found["windows"] == 10 and (tmp_path / "out" / "code_forecast.png").exists()
  assert 0 <= found["horizons"][0]["cells"]["reconstruction"]["accuracy"] <= 1
  wrong = _program("evaluation.code_forecast", f"--run={tokeniser}", *flags)
  assert wrong.returncode == 2 and "is a run of bev_tokeniser" in wrong.stderr
