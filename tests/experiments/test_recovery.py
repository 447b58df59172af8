"""Batches that make a step non-finite: skipped one by one, rolled back in a row, given up when they persist."""

import itertools
import json
import time
import types

import numpy as np
import pytest

from data import datasets, reader
from experiments import attempt, loop, manifest
from experiments.attempt import Diverged
from experiments.config import from_dict
from experiments.configs import motion
from experiments.preemption import StopSignal
from experiments.program import Preempted
from experiments.run_directory import RunDirectory
from tests.data import tiny_datasets

WINDOWS, STEPS = 8, 24


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, setup_on):
  """(values, setup) of all runs: the step is compiled once, whatever the windows hold."""
  out = tmp_path_factory.mktemp("recovery") / "dataset"
  tiny_datasets.write(out, tiny_datasets.scene_examples(64))
  dataset = datasets.open_dataset(out)
  counts = dataset.manifest["splits"]["train"]
  values = motion.get_config("tiny").to_dict()
  values |= {"tokens": int(STEPS * WINDOWS * counts["tokens"] / counts["windows"]), "log_every": 1}
  values["model"]["layers"] = 2
  values["data"] |= {"dataset": str(out), "batch_windows": WINDOWS}
  values["mesh"]["data"] = 2
  values["checkpoint"]["every_steps"] = 6
  values["recovery"] = {"patience": 3, "rollbacks": 2}
  return values, setup_on(2, from_dict(values), dataset)


@pytest.fixture
def train(prepared, tmp_path, monkeypatch):
  """train(bad): the row and the metrics of a run whose windows numbered `bad` (in the stream) hold NaN."""
  values, setup = prepared
  whole = reader.batches

  def run(bad: range, name: str = "run", stop=None):
    def damaged(source, size, seed, start, *rest):
      for index, batch in enumerate(whole(source, size, seed, start, *rest)):
        first = start + index * size
        if any(window in bad for window in range(first, first + size)):
          batch["features_TxAxF"] = np.full_like(batch["features_TxAxF"], np.nan)
        yield batch

    monkeypatch.setattr(reader, "batches", damaged)
    with RunDirectory.open(tmp_path / name, values) as directory:
      try:
        row = loop.train(directory, setup, stop or StopSignal())
      except (Diverged, Preempted, _Killed) as error:
        row = error
      return row, directory.read_metrics()

  run.path = tmp_path
  return run


def _windows(steps: range) -> range:
  """Numbers in the stream of what the given steps (from 1) read."""
  return range((steps.start - 1) * WINDOWS, (steps.stop - 1) * WINDOWS)


def _events(metrics) -> list[tuple[int, str]]:
  return [(record["step"], record["event"]) for record in metrics if "event" in record]


def test_two_bad_batches_are_skipped_and_counted(train):
  row, metrics = train(_windows(range(7, 9)))
  assert _events(metrics) == [(7, "non-finite step skipped"), (8, "non-finite step skipped")]
  assert row["rollbacks"] == 0 and row["steps"] == STEPS and np.isfinite(row["loss"])
  losses = {record["step"]: record.get("loss") for record in metrics}
  assert losses[7] is None and losses[8] is None and np.isfinite(losses[9])
  tokens = [record["tokens"] for record in metrics if "tokens" in record]
  assert row["tokens"] == tokens[-1] < STEPS * row["batch_tokens"] * 23 / 24  # the bad ones do not count


def test_a_bad_last_batch_leaves_the_evaluated_state_on_disk(train):
  row, _ = train(_windows(range(STEPS, STEPS + 1)))
  assert np.isfinite(row["loss"])
  assert (train.path / "run" / "manifests" / f"{STEPS}.json").exists()


def test_three_bad_batches_roll_back_and_are_not_read_again(train):
  bad = _windows(range(8, 12))
  row, metrics = train(bad)
  assert row["rollbacks"] == 1 and row["steps"] == STEPS and np.isfinite(row["loss"])
  assert [event for _, event in _events(metrics)] == ["rollback"]
  event = next(record for record in metrics if record.get("event") == "rollback")
  assert event["to"] == 6 and event["step"] == 11  # noticed one step late
  assert event["skipped_to_window"] == bad.stop
  steps = [record["step"] for record in metrics if "loss" in record]
  assert steps == list(range(1, STEPS + 1))  # every step once: what was rolled back is superseded


def test_persistent_bad_batches_stop_the_run_with_the_last_good_state_on_disk(train):
  error, metrics = train(_windows(range(8, 1000)))
  assert isinstance(error, Diverged)
  assert "3 non-finite steps in a row" in str(error) and "after 2 roll-backs" in str(error)
  assert not (train.path / "run" / "result.json").exists()
  manifest = json.loads((train.path / "run" / "manifests" / "6.json").read_text())
  assert manifest["step"] == 6
  assert [record["step"] for record in metrics if "loss" in record] == list(range(1, 7))


class _Killed(Exception):
  pass


class _KilledAtSecond7:
  """Stands in for SIGKILL when step 7 is reached again, after the roll-back to 6."""

  def __init__(self):
    self.visits = 0

  def requested(self, step):
    self.visits += step == 7
    if self.visits == 2:
      raise _Killed
    return False


def test_a_run_killed_between_roll_back_and_save_ends_like_an_untouched_one(train):
  bad = _windows(range(8, 12))
  row, metrics = train(bad)
  assert isinstance(train(bad, "killed", _KilledAtSecond7())[0], _Killed)
  again, resumed = train(bad, "killed")
  assert resumed == metrics
  clocks = {"seconds", "data_wait_share"}
  assert {k: v for k, v in again.items() if k not in clocks} == {
    k: v for k, v in row.items() if k not in clocks
  }


def test_time_is_counted_over_all_attempts_without_what_lies_between(train, monkeypatch):
  ticks = itertools.count()
  monkeypatch.setattr(attempt, "time", types.SimpleNamespace(monotonic=lambda: next(ticks)))
  assert isinstance(train(range(0), stop=_StopAt9())[0], Preempted)
  saved = json.loads((train.path / "run" / "manifests" / "9.json").read_text())["meta"]
  assert 2 * 9 <= saved["seconds"] < 3 * 9  # a step looks at the clock twice
  assert saved["waited"] == 9
  ticks = itertools.count(10_000)
  row, _ = train(range(0))
  assert saved["seconds"] + 2 * (STEPS - 9) <= row["seconds"] < 3 * STEPS
  assert row["data_wait_share"] == STEPS / row["seconds"]


def test_a_run_that_fails_lets_go_of_its_directory_after_the_save_under_way(train, monkeypatch):
  whole = manifest.digests

  def slow(*arguments):
    time.sleep(1)
    return whole(*arguments)

  monkeypatch.setattr(manifest, "digests", slow)
  assert isinstance(train(range(0), stop=_FailsAfter6())[0], _Killed)
  assert (train.path / "run" / "manifests" / "6.json").exists()


class _FailsAfter6:
  def requested(self, step):
    if step > 6:
      raise _Killed
    return False


class _StopAt9:
  def requested(self, step):
    return step == 9


def test_a_stop_among_bad_steps_names_the_step_that_was_saved(train):
  stopped, _ = train(_windows(range(8, 10)), stop=_StopAt9())
  assert isinstance(stopped, Preempted) and "saved step 6 of" in str(stopped)
