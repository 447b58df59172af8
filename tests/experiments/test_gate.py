"""Programs that a user runs, end to end: what forgets an earlier domain is refused, what replays it is let through."""

import json
import subprocess
import sys

import numpy as np
import pytest

from data import dataset_writer
from experiments.program import DONE, LASTING
from tests.data import tiny_datasets
from tests.experiments import faults
from tests.worlds import straight_scene

WINDOWS, SCENE, MOVES = (
  160,
  8,
  {"old": 20, "new": 60},
)  # of either domain, the only moves: this one or the next
STEPS, ROWS, MOVES_OF_A_WINDOW = 30, 4, 16


def habits(domain: str, seed: int) -> list:
  """Windows of one domain, whose agents know but its two moves; the domain is seen from their type."""
  rng = np.random.default_rng(seed)
  windows = tiny_datasets.numbered_windows(WINDOWS // 2)
  for window in windows:
    window["tokens_TxA"][:] = MOVES[domain] + rng.integers(0, 2, window["tokens_TxA"].shape)
    for name in ("mask_TxA", "valid_TxA", "group_A"):
      window[name][:] = 1
    window["features_TxAxF"][:] = 0
    window["domain"] = np.uint8(list(MOVES).index(domain))
    window["type_A"][:] = window["domain"]
  return windows


def run(module: str, **options) -> subprocess.CompletedProcess:
  command = [sys.executable, "-m", module, *(f"--{name}={value}" for name, value in options.items())]
  return subprocess.run(
    command, cwd=faults.ROOT, env=faults.ENVIRONMENT, capture_output=True, text=True, timeout=200
  )


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  """Runs "base" of the old domain, and after it "naive" of the new one alone, "replayed" of both."""
  folder, scene = tmp_path_factory.mktemp("gate"), straight_scene()
  splits = ("train", "validation")
  examples = []
  for number, split in enumerate(splits):
    for place, domain in enumerate(MOVES):
      windows = habits(domain, 2 * number + place)
      examples += [(split, scene, windows[first : first + SCENE]) for first in range(0, len(windows), SCENE)]
  dataset_writer.write_dataset(folder / "windows", examples, tiny_datasets.WINDOW, tuple(MOVES), splits, {})
  new = {"start.run": folder / "base", "data.mixture.only": "domain=new"}
  replay = {"data.mixture.replay": "domain=old", "data.mixture.replay_share": 0.5}
  runs = {"base": {"data.mixture.only": "domain=old"}, "naive": new, "replayed": new | replay}
  for name, changes in runs.items():
    settings = changes | {
      "data.dataset": folder / "windows", "tokens": STEPS * ROWS * MOVES_OF_A_WINDOW, "data.batch_windows": ROWS,
      "optimizer.learning_rate": 0.05, "optimizer.base_width": 0, "data.read_threads": 0,
    }  # fmt: skip
    options = {f"config.{key}": value for key, value in settings.items()}
    ended = run(
      "experiments.train", config="experiments/configs/motion.py:tiny", workdir=folder / name, **options
    )
    assert ended.returncode == DONE, ended.stderr
  return folder


def losses(work, name: str) -> dict[str, float]:
  return json.loads((work / name / "result.json").read_text())["loss_by_slice"]


def gate(work, name: str, **options):
  ended = run("experiments.gate", run=work / name, before=work / "base", out=work / f"gate_{name}", **options)
  path = work / f"gate_{name}" / "gate.json"
  return ended, json.loads(path.read_text())["gates"] if path.exists() else {}


def test_what_is_better_on_the_new_domain_and_worse_on_the_old_is_refused(work):
  before, after = losses(work, "base"), losses(work, "naive")
  assert after["new"] < before["new"] - 1 and after["old"] > before["old"] + 1, "the planted regression"
  ended, found = gate(work, "naive", slices="domain=new", canaries="domain=old", allowed=0.1)
  assert ended.returncode == LASTING
  last = ended.stderr.strip().splitlines()[-1]
  assert f"{work / 'naive'} must not follow {work / 'base'}: domain=old is worse by" in last
  assert "0.1000 is allowed and must be shown" in last and "domain=new" not in last
  assert found["domain=old"]["closed"] and found["domain=old"]["canary"]
  assert found["domain=old"]["change"] == pytest.approx(after["old"] - before["old"], rel=1e-3)
  assert not found["domain=new"]["closed"]


def test_with_a_share_of_old_records_in_every_batch_it_may_follow(work):
  before, after = losses(work, "base"), losses(work, "replayed")
  assert after["new"] < before["new"] - 1
  ended, found = gate(work, "replayed", slices="domain=new", canaries="domain=old", allowed=0.1)
  assert ended.returncode == DONE, ended.stderr
  assert "domain=old is" in ended.stdout and "domain=new is better by" in ended.stdout
  assert found.keys() == {"domain=old", "domain=new"} and not any(v["closed"] for v in found.values())
  assert found["domain=old"]["units"] == WINDOWS // 2 // SCENE
