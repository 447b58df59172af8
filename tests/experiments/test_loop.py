"""A run's row, against numbers worked out by hand for a tiny run."""

import pytest

from data import datasets
from experiments import loop
from experiments.config import from_dict
from experiments.configs import motion
from experiments.preemption import StopSignal
from experiments.run_directory import RunDirectory
from experiments.setup import make_setup
from tests.data import tiny_datasets

# Width 8, two layers, one head of 8; 63 features, 4 steps x 4 slots, 15 x 17 moves in tables of 256 rows.
PARAMS = (63 * 32 + 32 + 32 * 8) + 2 * (4 * 8 * 8 + 2 * 8 * 32 + 2 * 8) + 8
TABLES = 3 * 8 * (256 + 15 + 17) + 8 * 8 + (256 + 15 + 17)  # three move tables, agent types, the head's bias
STEM = 2 * (63 * 32 + 32 * 8)
LAYERS = 2 * (2 * 4 * 8 * 8 + 2 * 2 * 8 * 32)  # q k v o, and the MLP
# Scores, values; over time, agents.
ATTENTION = 2 * (2 * 8 * 4 + 2 * 8 * 4) / 2 + 2 * (2 * 8 * 4 + 2 * 8 * 4) / 2
HEAD = 2 * 8 * 256
FLOPS = 3 * (STEM + LAYERS + ATTENTION + HEAD)  # forward, and backward twice as much


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  """32 windows to train on, each with four moves of three agents."""
  out = tmp_path_factory.mktemp("row") / "dataset"
  manifest = tiny_datasets.write(out, tiny_datasets.scene_examples(32))
  assert manifest["splits"]["train"] == {"scenes": 16, "windows": 32, "tokens": 32 * 12}
  return datasets.open_dataset(out)


@pytest.mark.parametrize(("unique_windows", "unique_tokens"), [(5, 5 * 12), (0, 3 * 8 * 12)])
def test_a_row_counts_what_was_trained(dataset, tmp_path, unique_windows, unique_tokens):
  """250 moves take 2.6 batches of 8 windows, so 3: five windows come again and again; of 32, none twice."""
  values = motion.get_config("tiny").to_dict() | {"tokens": 250}
  values["data"] |= {"dataset": str(dataset.path), "batch_windows": 8, "unique_windows": unique_windows}
  values["mesh"]["data"] = 8
  with RunDirectory.open(tmp_path / "run", values) as directory:
    row = loop.train(directory, make_setup(from_dict(values), dataset), StopSignal())
  seen = 3 * 8 * 12
  assert (row["steps"], row["tokens"], row["batch_tokens"]) == (3, seen, 96)
  assert row["unique_tokens"] == unique_tokens
  assert (row["params"], row["params_total"]) == (PARAMS, PARAMS + TABLES) == (3880, 3880 + 7264)
  assert row["flops"] == pytest.approx(FLOPS * seen, rel=1e-12) and FLOPS == 35904
  assert row["flops_6nd"] == 6 * 3880 * seen
