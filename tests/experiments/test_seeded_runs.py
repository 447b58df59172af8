"""What studies of small models share: the run that they ask for, and the table that they leave."""

import csv

import pytest

from benchmarks import seeded_runs
from experiments.configs import motion


def test_a_run_of_a_study_differs_from_the_ladder_in_what_it_was_asked_for_alone():
  asked = seeded_runs.motion(motion.get_config("w8"), "data", seed=3, tokens=400_000, rate=0.25)
  assert asked.optimizer.learning_rate == pytest.approx(0.25 * 0.008)
  plain = motion.get_config("w8")
  plain.seed, plain.tokens, plain.data.dataset, plain.data.batch_windows = 3, 400_000, "data", 2
  plain.optimizer.learning_rate = asked.optimizer.learning_rate
  assert asked.to_dict() == plain.to_dict()


def test_a_table_has_the_columns_of_its_first_row_and_refuses_others(tmp_path):
  seeded_runs.write(tmp_path / "t.csv", [{"seed": 0, "loss": 1.5}, {"loss": 2.5, "seed": 1}])
  with open(tmp_path / "t.csv", newline="") as file:
    assert list(csv.reader(file)) == [["seed", "loss"], ["0", "1.5"], ["1", "2.5"]]
  with pytest.raises(ValueError, match="gates"):
    seeded_runs.write(tmp_path / "t.csv", [{"seed": 0}, {"seed": 1, "gates": 2}])
