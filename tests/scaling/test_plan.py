"""The program: mistakes get one sentence; the real step compiled for a slice, with libtpu."""

import csv
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = "--config=experiments/configs/motion_plan.py:tiny"
needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed (make tpu)"
)


def _plan(*arguments, timeout=900):
  return subprocess.run(
    [sys.executable, "-m", "scaling.plan", *arguments],
    cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False, env=os.environ | {"XLA_FLAGS": ""},
  )  # fmt: skip


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ((TINY, "--topology=v5e:16x17"), "no slice '16x17' of v5e; did you mean v5e:16x16?"),
    ((TINY, "--topology=v5r:4x4"), "no chip 'v5r'"),
    ((TINY, "--topology=v5e:4x4", "--mesh=fdsp=16"), "no axis 'fdsp'; did you mean fsdp?"),
    ((TINY, "--topology=v5e:4x4", "--mesh=fsdp=4,data=2"), "multiply to 8, the slice has 16 chips"),
    ((TINY, "--topology=v5e:4x4", "--mesh=fsdp=x"), "fsdp is 'x'"),
    ((TINY + "y", "--topology=v5e:4x4"), "variant 'tinyy'"),
  ],
)
def test_mistakes_are_answered_with_one_sentence(arguments, words, tmp_path):
  done = _plan(*arguments, f"--out={tmp_path / 'out'}")
  assert done.returncode == 2, done.stderr
  assert words in done.stderr and len(done.stderr.splitlines()) == 1
  assert not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_the_program_says_what_to_install(tmp_path):
  done = _plan(TINY, "--topology=v5e:2x2", f"--out={tmp_path}")
  assert done.returncode == 2 and "say `make tpu`" in done.stderr
  assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


@needs_libtpu
def test_a_config_that_no_mesh_cuts_is_refused(tmp_path):
  done = _plan(TINY, "--topology=v5p:4x4x12", "--config.data.batch_windows=7", f"--out={tmp_path}")
  assert done.returncode == 2 and "no mesh of 192 chips cuts the step evenly" in done.stderr


@needs_libtpu
def test_the_real_step_is_planned(tmp_path):
  """The tiny model on four chips: the contract, the analytic FLOPs within 2 %, the compiler's bytes inside HBM."""
  done = _plan(TINY, "--topology=v5e:2x2", f"--out={tmp_path}")
  assert done.returncode == 0, done.stderr
  plan = json.loads((tmp_path / "plan.json").read_text())
  assert plan["fits"] and plan["bytes_per_chip"] < plan["hbm_per_chip"]
  own = plan["flops_per_chip_model"] + plan["flops_per_chip_recomputed"]
  assert plan["flops_per_chip"] == pytest.approx(own, rel=0.02)
  assert 0 < plan["mfu_bound"] < 1
  assert plan["seconds"][plan["limited_by"]] == plan["step_seconds_bound"]
  assert plan["collectives"]["all-to-all"]["count"] == 0
  with open(tmp_path / "meshes.csv") as file:
    rows = list(csv.DictReader(file))
  row = next(row for row in rows if row["compiled"] == "True")
  assert {axis: int(row[axis]) for axis in plan["mesh"]} == plan["mesh"] and len(rows) == plan["meshes"]
  # What goes in is known exactly; the compiler pads small arrays to its tiles.
  assert int(row["estimated_state_bytes"]) <= plan["bytes_per_chip"]


@needs_libtpu
def test_what_is_too_large_is_refused_with_what_it_needs(tmp_path):
  """A million tokens through a billion parameters on four chips."""
  config = "--config=experiments/configs/motion_plan.py:1b"
  done = _plan(config, "--topology=v5e:2x2", "--mesh=fsdp=4", f"--out={tmp_path}")
  assert done.returncode == 0 and "does not fit: fsdp=4 asks for" in done.stdout, done.stderr
  plan = json.loads((tmp_path / "plan.json").read_text())
  assert plan["fits"] is False and plan["bytes_per_chip"] > plan["hbm_per_chip"]
  assert plan["mfu_bound"] is None and plan["collectives"] == {}
