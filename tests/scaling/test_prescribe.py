"""The program as a person uses it: what it prints and leaves, that its command trains, and its mistakes."""

import json
import pathlib
import runpy
import shlex
import subprocess
import sys

import pytest

from experiments import config as configs
from tests.data import tiny_datasets
from tests.experiments import faults
from tests.scaling import ladder

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*argv: str) -> subprocess.CompletedProcess:
  command = [sys.executable, "-m", *map(str, argv)]
  return subprocess.run(
    command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=faults.ENVIRONMENT
  )


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
  return ladder.fit(tmp_path_factory.mktemp("fit"), ladder.motion())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  """16 windows of four moves of three agents to train on."""
  out = tmp_path_factory.mktemp("prescribed") / "dataset"
  assert tiny_datasets.write(out, tiny_datasets.scene_examples(16))["splits"]["train"]["tokens"] == 16 * 12
  return out


def test_the_printed_command_trains_what_was_prescribed(fit, dataset, tmp_path):
  """Small enough to train here: the run's own row has the N, D and steps of the prescription."""
  out, work = tmp_path / "out", tmp_path / "a run"
  asked = (
    "--config=experiments/configs/motion.py:tiny",
    f"--config.data.dataset={dataset}",
    "--config.seed=3",
  )
  done = run(
    "scaling.prescribe", f"--fit={fit}", *asked, "--budget_flops=1e7", f"--out={out}", f"--workdir={work}"
  )
  assert done.returncode == 0, done.stderr
  made = json.loads((out / "prescription.json").read_text())
  lines = done.stdout.splitlines()
  command = shlex.split(lines[lines.index("run it:") + 1])
  assert command == made["command"] and command[:3] == ["python", "-m", "experiments.train"]
  trained = run(*command[2:], "--config.checkpoint.every_steps=100000")
  assert trained.returncode == 0, trained.stderr
  row, taken = json.loads((work / "result.json").read_text()), made["config"]
  assert (row["params"], row["steps"], row["seed"]) == (taken["params"], taken["steps"], 3)
  assert row["tokens"] == pytest.approx(taken["tokens"], abs=1)
  values = json.loads((work / "config.json").read_text())
  for key, value in taken["point"].items():
    if not key.startswith("trial."):
      section, _, name = key.rpartition(".")
      assert (values[section] if section else values)[name] == value, key
  assert f"{taken['tokens'] / (16 * 12):.2f} passes over 192 unique tokens" in done.stdout


def test_points_are_overrides_of_the_config(fit, tmp_path):
  done = run(
    "scaling.prescribe",
    f"--fit={fit}",
    f"--config={ladder.CONFIG}",
    "--budget_flops=1e13",
    f"--out={tmp_path}",
  )
  assert done.returncode == 0, done.stderr
  (point,) = json.loads((tmp_path / "points.json").read_text())
  assert point.pop("trial.flops") == pytest.approx(1e13, rel=1e-3)
  config = runpy.run_path(ladder.CONFIG)["get_config"]()
  config.update_from_flattened_dict(point)
  assert configs.from_dict(config.to_dict()).tokens == point["tokens"]
  assert json.loads((tmp_path / "prescription.json").read_text())["config"]["tokens"] == point["tokens"]


def test_a_slice_and_a_plan_are_budgets(fit, tmp_path):
  plan = tmp_path / "plan.json"
  plan.write_text(json.dumps({"topology": "v5e:2x2", "fits": True, "mfu_bound": 0.5, "params": 1e9}))
  asked = (f"--fit={fit}", f"--config={ladder.CONFIG}", "--hours=1e-3", f"--out={tmp_path / 'out'}")
  done = run("scaling.prescribe", *asked, f"--plan={plan}")
  assert done.returncode == 0, done.stderr
  assert (
    "C = 1.418e+15 FLOPs (4 chips of v5e:2x2 at 197 TFLOP/s for 0.001 h, MFU 50.0%, the plan's" in done.stdout
  )
  assert "warning: the compute rests on an upper bound of the MFU, no expectation" in done.stdout
  assert done.stdout.startswith("WARNING: EXTRAPOLATION beyond the table's largest run, 22")
  done = run("scaling.prescribe", *asked, "--topology=v5e:2x2", "--mfu=0.25")
  assert done.returncode == 0 and "C = 7.092e+14 FLOPs" in done.stdout and "no expectation" not in done.stdout


CHIPS = "--topology=v5e:2x2"


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    ((), "says neither compute nor loss; give one of --budget_flops, --topology, --plan, --target_loss"),
    (("--budget_flops=-1e12",), "--budget_flops: is -1e+12; give a positive number"),
    (("--budget_flops=1e12", CHIPS), "--budget_flops and --topology: say two different things"),
    ((CHIPS, "--mfu=0.4"), "--hours: is missing; say for how long v5e:2x2 trains"),
    ((CHIPS, "--hours=1"), "says nothing of the share of its peak"),
    (("--budget_flops=1e12", "--hours=1"), "--hours: needs chips"),
    (("--target_loss=0.5",), "no model reaches 0.5"),
    (("--target_loss=-1",), "--target_loss: is -1"),
    (("--budget_flops=1e12", "--inference_tokens=0"), "--inference_tokens: is 0"),
    (("--budget_flops=1e12", "--repetition=15"), "--repetition: is '15'; give two numbers"),
    (("--budget_flops=1e12", "--config.model.width=8"), "--config.model.width: is what is prescribed"),
    (
      ("--budget_flops=1e12", "--config=experiments/configs/motion_rate.py"),
      "motion_rate.py: has no family()",
    ),
  ],
)
def test_mistakes_are_answered_with_one_sentence(fit, tmp_path, flags, words):
  done = run(
    "scaling.prescribe", f"--fit={fit}", f"--config={ladder.CONFIG}", f"--out={tmp_path / 'out'}", *flags
  )
  assert done.returncode == 2 and words in done.stderr, done.stderr
  assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists() and done.stdout == ""
