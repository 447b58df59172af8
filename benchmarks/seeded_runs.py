"""What studies that train small models, seed by seed, have in common: their flags, their runs and their table.

A run that is finished is not made again, so a study that was stopped goes on where it was.
"""

import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

flags.disclaim_key_flags()  # they are those of the study


def define(dataset: str, seeds: str) -> tuple[flags.FlagHolder, flags.FlagHolder, flags.FlagHolder]:
  """--dataset, --workdir and --seeds of a study, with what the first and the last are."""
  return (
    flags.DEFINE_string("dataset", None, dataset, required=True),
    flags.DEFINE_string("workdir", None, "Directory of the runs; created, or continued.", required=True),
    flags.DEFINE_integer("seeds", 3, seeds, lower_bound=1),
  )


def motion(config: ConfigDict, dataset: str, seed: int, tokens: int, rate: float = 1.0) -> ConfigDict:
  """The motion config for so many moves, two windows a step, at `rate` times the learning rate of its ladder."""
  from experiments.configs.motion import learning_rate

  config.seed, config.tokens = seed, tokens
  config.optimizer.learning_rate = rate * learning_rate(tokens)
  config.data.dataset, config.data.batch_windows = dataset, 2
  return config


def train(out: pathlib.Path, config: ConfigDict) -> dict[str, Any]:
  """The row of a run (result.json), made or made before."""
  from experiments import run
  from experiments.config import from_dict
  from experiments.run_directory import read_result

  values = config.to_dict()
  run.train(str(out), from_dict(values), values)
  row = read_result(out)
  assert row is not None  # train returns when it is written
  return row


def write(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """A table with the columns of the first row."""
  with open(path, "w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
