"""A tokeniser is trained on clips, encodes them, and what comes out is what it says of them, split by split."""

import subprocess
import sys

import jax
import numpy as np

from data import clips, dataset_writer, datasets
from data.reader import RecordSource
from experiments import config as configs
from experiments import run
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


def _encode(*flags):
  command = [sys.executable, "-m", "experiments.encode", *flags]
  return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_a_trained_tokeniser_encodes_clips_and_keeps_their_splits(tmp_path):
  dataset, workdir, out = _clips(tmp_path / "clips"), tmp_path / "run", tmp_path / "codes"
  values = tokeniser_config.get_config("tiny").to_dict()
  values |= {"tokens": 8 * 2 * 64 * 3}  # three steps
  values["model"] |= {"patch": 4}
  values["data"] |= {"dataset": dataset, "batch_windows": 8}
  values["mesh"] |= {"data": jax.device_count()}
  run.train(str(workdir), configs.from_dict(values), values)
  done = _encode(f"--run={workdir}", f"--out={out}")
  assert done.returncode == 0, done.stderr
  encoded, trained = datasets.open_dataset(out), run.open_run(str(workdir))
  assert (encoded.config.steps, encoded.config.places, encoded.config.codes) == (2, 4, 32)
  for split in SPLITS:
    cells = RecordSource(trained.dataset, split, ("cells_TxHxW",)).stacked(np.arange(10))["cells_TxHxW"]
    expected, _ = trained.task.model.apply({"params": trained.params}, cells, method="encode")
    found = RecordSource(encoded, split, ("codes_TxS",)).stacked(np.arange(10))["codes_TxS"]
    np.testing.assert_array_equal(found, expected)
  assert cells.max() < len(clips.CELL_CLASSES)
  again = _encode(f"--run={workdir}", f"--out={out}")
  assert again.returncode == 2 and "exists already" in again.stderr
