"""The program: what it prints, what it leaves, and its mistakes."""

import json
import pathlib
import runpy
import subprocess
import sys

import pytest

from experiments import config as configs
from experiments.configs import isoflop
from tests.scaling import ladder

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUESS = ("--prior=0.8,4.2,110,0.4,0.42", "--noise_sd=0.005")


def run(*argv: str) -> subprocess.CompletedProcess:
  command = [sys.executable, "-m", "scaling.design", f"--config={ladder.CONFIG}", *map(str, argv)]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  out = tmp_path_factory.mktemp("design")
  done = run(*GUESS, "--budget_flops=1e13", "--flops_per_second=1e9", f"--out={out}")
  assert done.returncode == 0, done.stderr
  return (
    done.stdout,
    json.loads((out / "design.json").read_text()),
    json.loads((out / "points.json").read_text()),
  )


def test_points_are_runs_of_the_config_that_spend_the_budget(made):
  _, design, points = made
  assert sum(point["trial.flops"] for point in points) == pytest.approx(1e13, rel=1e-9)
  assert len(points) == len(design["trials"]) == design["expected"]["runs"]
  space = runpy.run_path(ladder.CONFIG)
  seen = set()
  for point, trial in zip(points, design["trials"], strict=True):
    config = space["get_config"]()
    config.update_from_flattened_dict({k: v for k, v in point.items() if not k.startswith("trial.")})
    run = configs.from_dict(config.to_dict())
    assert (run.model.width, run.seed, run.tokens) == (trial["width"], trial["seed"], trial["tokens"])
    assert isoflop.flops(run.model.width, run.tokens) == pytest.approx(trial["flops"], rel=1e-4)
    assert trial["hours"] == pytest.approx(trial["flops"] / 1e9 / 3600)
    seen.add((run.model.width, run.tokens, run.seed))
  assert len(seen) == len(points)


def test_cost_and_errors_are_printed_with_units(made):
  text, design, _ = made
  assert f"{len(design['trials'])} runs, 1e+13 FLOPs, {1e13 / 3.6e12:.3g} h, one after the other" in text
  assert "E (nats)" in text and "C (FLOPs)" in text and "D (tokens)" in text and "h a run" in text
  assert design["cost"]["flops"] == pytest.approx(1e13)
  assert sum(b["hours"] for b in design["budgets"]) == pytest.approx(design["cost"]["hours"])
  assert design["expected"]["minima"] == f"{len(design['budgets'])} of {len(design['budgets'])}"
  assert design["rivals"]["one ray"]["refusals"] and "settles nothing: all runs have" in text
  assert design["expected"]["loss_target"]["flops"] == 1e14
  uniform, off = (design["rivals"][name] for name in ("uniform 5 x 4", "off centre"))
  assert uniform["standard_error"]["a"] > 2 * design["expected"]["standard_error"]["a"]
  assert off["minima"] == f"0 of {len(design['budgets'])}" and abs(design["expected"]["profile_bias"]) < 0.1
  assert design["expected"]["loss_beyond"]["flops"] == pytest.approx(10 * design["budgets"][-1]["flops"])


def test_a_dry_run_prints_the_same_and_leaves_nothing(made, tmp_path):
  done = run(
    *GUESS, "--budget_flops=1e13", "--flops_per_second=1e9", "--dry_run", f"--out={tmp_path / 'out'}"
  )
  assert done.returncode == 0 and not (tmp_path / "out").exists()
  assert made[0].startswith(done.stdout)


def test_an_earlier_fit_is_a_prior(tmp_path):
  fit = ladder.fit(tmp_path, ladder.motion(), draws=50)
  done = run(f"--fit={fit}", "--budget_flops=2e13", "--dry_run", "--criterion=exponents")
  assert done.returncode == 0, done.stderr
  assert "(fit.json of" in done.stdout and "by the exponents criterion" in done.stdout
  assert "hours unknown: give --flops_per_second" in done.stdout


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (("--budget_flops=1e13", "--dry_run"), "--fit and --prior: are both missing; give one"),
    (("--budget_flops=1e13", *GUESS), "--out: is missing; say where design.json goes"),
    (("--budget_flops=-1", "--dry_run", *GUESS), "--budget_flops: is -1; give a positive number"),
    (("--budget_flops=1e13", "--dry_run", GUESS[0]), "--noise_sd: is missing; say how runs scatter"),
    (
      ("--budget_flops=1e13", "--dry_run", "--prior=1,2,3", GUESS[1]),
      "--prior: is '1,2,3'; give five positive",
    ),
    (("--budget_flops=1e13", "--dry_run", *GUESS, "--fit=fit.json"), "--fit and --prior: say two different"),
    (
      ("--budget_flops=1e7", "--dry_run", *GUESS),
      "--budget_flops: no ladder of 4 budgets from 1e+04 FLOPs on",
    ),
    (("--budget_flops=1e13", "--dry_run", "--fit=README.md"), "README.md: not readable as JSON"),
  ],
)
def test_mistakes_are_answered_with_one_sentence(flags, words):
  done = run(*flags)
  assert done.returncode == 2 and words in done.stderr, done.stderr
  assert len(done.stderr.splitlines()) == 1 and done.stdout == ""
