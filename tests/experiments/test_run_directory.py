"""A run directory belongs to one config and one process; its records survive cuts and resumes."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from data import files
from data.errors import BadInput
from experiments.identity import config_hash
from experiments.program import Preempted
from experiments.run_directory import RunDirectory, read_config, read_jsonl
from tests.experiments import faults

CONFIG = {"seed": 1, "model": {"width": 8, "rates": [0.5, 1.0]}}

HOLDER = """
import sys, time
from experiments.run_directory import RunDirectory
with RunDirectory.open(sys.argv[1], {"seed": 1, "model": {"width": 8, "rates": [0.5, 1.0]}}):
  print("held", flush=True)
  time.sleep(60)
"""


def test_a_run_from_before_attention_took_blocks_reads_as_one_that_takes_none(tmp_path):
  old = CONFIG | {"model": {"width": 8, "mixing": "full"}}
  with RunDirectory.open(tmp_path / "run", old):
    pass
  found = read_config(tmp_path / "run")
  assert found == CONFIG | {"model": {"width": 8, "mixing": "full", "block": 0, "heads": 0, "hidden": 0}}
  assert config_hash(found) == config_hash(old)
  with RunDirectory.open(tmp_path / "run", found):  # the same run, and so with any other block
    assert read_config(tmp_path / "run") == found


def test_a_finished_run(tmp_path):
  with RunDirectory.open(tmp_path / "run", CONFIG) as run:
    assert run.result() is None
    run.write_provenance(seed=1, devices=["cpu:0"], dataset_fingerprint="abc")
    run.append_metrics({"step": 1, "loss": 2.5})
    run.write_result({"loss": 2.5})
  with RunDirectory.open(tmp_path / "run", CONFIG) as again:
    assert again.result() == {"loss": 2.5}
    assert again.read_metrics() == [{"step": 1, "loss": 2.5}]
  assert read_config(tmp_path / "run") == CONFIG
  provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
  assert provenance["config_hash"] == config_hash(CONFIG)
  assert provenance["dataset_fingerprint"] == "abc"
  assert {"git_revision", "packages", "argv", "host", "devices", "seed"} <= set(provenance)
  assert provenance["packages"]["jax"]
  assert provenance["restarts"] == []


@pytest.mark.parametrize(
  ("error", "code"), [(None, 0), (Preempted(), 42), (BadInput("a", "b", "c"), 2), (RuntimeError(), 1)]
)
def test_attempts_record_how_each_ended(tmp_path, error, code):
  with contextlib.suppress(Exception), RunDirectory.open(tmp_path, CONFIG):
    if error:
      raise error
  start, end = read_jsonl(tmp_path / "attempts.jsonl")
  assert (start["event"], end["event"], end["exit_code"]) == ("start", "end", code)
  assert start["pid"] == os.getpid()


def test_another_config_is_refused_with_the_keys_that_differ(tmp_path):
  with RunDirectory.open(tmp_path, CONFIG):
    pass
  before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != "lock"}
  other = {"seed": 1, "model": {"width": 16, "rates": [0.5, 1.0]}, "extra": True}
  with pytest.raises(
    BadInput, match=r"extra is absent there, true here, model.width is 8 there, 16 here"
  ) as refused:
    RunDirectory.open(tmp_path, other)
  assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != "lock"} == before
  with RunDirectory.open(tmp_path, CONFIG):  # the refusal, which is still alive, has let go of the lock
    assert refused.traceback


def test_a_restart_on_another_mesh_belongs_to_the_run_and_is_written_down(tmp_path):
  meshes = [{"data": 1, "tensor": 1}, {"data": 4, "tensor": 2}]
  for mesh in meshes:
    with RunDirectory.open(tmp_path, CONFIG | {"mesh": mesh}) as run:
      run.write_provenance(1, [f"cpu:{i}" for i in range(mesh["data"])], "abc")
  facts = json.loads((tmp_path / "provenance.json").read_text())
  starts = [facts, *facts["restarts"]]
  assert [start["operational"] for start in starts] == [{"mesh": mesh} for mesh in meshes]
  assert [len(start["devices"]) for start in starts] == [1, 4]
  assert all(start["packages"]["jax"] for start in starts)
  assert read_config(tmp_path)["mesh"] == meshes[0]


def test_another_dataset_under_the_same_name_is_refused(tmp_path):
  with RunDirectory.open(tmp_path, CONFIG) as run:
    run.write_provenance(1, [], "abc")
  before = (tmp_path / "provenance.json").read_bytes()
  with (
    RunDirectory.open(tmp_path, CONFIG) as run,
    pytest.raises(BadInput, match="began with a dataset of fingerprint abc, the one given has abd"),
  ):
    run.write_provenance(1, [], "abd")
  assert (tmp_path / "provenance.json").read_bytes() == before


def test_a_directory_with_other_files_is_refused_untouched(tmp_path):
  (tmp_path / "thesis.tex").write_text("x")
  with pytest.raises(BadInput, match=r"thesis\.tex"):
    RunDirectory.open(tmp_path, CONFIG)
  assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_start_killed_before_its_config_was_written_can_be_repeated(tmp_path):
  (tmp_path / "lock").write_text("process 1")
  (tmp_path / ".config.json.123").write_text("{")
  with RunDirectory.open(tmp_path, CONFIG):
    assert read_config(tmp_path) == CONFIG


def test_a_config_that_is_not_json_is_refused_before_anything_exists(tmp_path):
  with pytest.raises(BadInput, match="JSON"):
    RunDirectory.open(tmp_path / "run", {"rate": float("nan")})
  assert not (tmp_path / "run").exists()


def test_a_second_process_is_refused_by_name_and_a_killed_holder_lets_go(tmp_path):
  holder = subprocess.Popen(
    [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=faults.ENVIRONMENT
  )
  try:
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BadInput, match=f"is in use by process {holder.pid} on "):
      RunDirectory.open(tmp_path, CONFIG)
  finally:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
  with RunDirectory.open(tmp_path, CONFIG):
    pass
  events = [record["event"] for record in read_jsonl(tmp_path / "attempts.jsonl")]
  assert events == ["start", "start", "end"]  # the killed attempt has no end


def test_superseded_records_are_dropped_and_nothing_else(tmp_path):
  with RunDirectory.open(tmp_path, CONFIG) as run:
    for step in range(1, 6):
      run.append_metrics({"step": step, "loss": 1 / step})
    run.supersede(3)
    assert [r["step"] for r in run.read_metrics()] == [1, 2, 3]
    run.append_metrics({"step": 4, "loss": 0.25})
    run.supersede(0)
    assert run.read_metrics() == []


def test_a_truncated_last_line_is_dropped_and_the_next_record_starts_a_line(tmp_path):
  with RunDirectory.open(tmp_path, CONFIG) as run:
    run.append_metrics({"step": 1})
    run.append_metrics({"step": 2})
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(path.read_bytes()[:-4])
  assert [r["step"] for r in read_jsonl(path)] == [1]
  with RunDirectory.open(tmp_path, CONFIG) as run:
    run.append_metrics({"step": 3})
    assert [r["step"] for r in run.read_metrics()] == [1, 3]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step":1}\n{"ste\n{"step":3}\n')
  with pytest.raises(BadInput, match=r"metrics\.jsonl: line 2"):
    read_jsonl(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_is_written_for_a_number_that_is_not_one(tmp_path, value):
  with RunDirectory.open(tmp_path, CONFIG) as run:
    with pytest.raises(ValueError, match=r"loss is (nan|inf) at step 3"):
      run.append_metrics({"step": 3, "loss": value})
    with pytest.raises(ValueError, match="JSON compliant"):
      run.write_result({"loss": value})
  assert not (tmp_path / "metrics.jsonl").exists()
  assert not (tmp_path / "result.json").exists()
  assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_other_processes_of_a_run_write_nothing(tmp_path):
  with RunDirectory.open(tmp_path / "run", CONFIG, writer=False) as run:
    run.append_metrics({"step": 1})
    run.write_provenance(1, [], "")
    run.write_result({})
    run.supersede(0)
  assert not (tmp_path / "run").exists()


def test_a_full_disk_is_refused_before_anything_exists(tmp_path, monkeypatch):
  full = type("Usage", (), {"free": 2**20})
  monkeypatch.setattr(files.shutil, "disk_usage", lambda path: full)
  with pytest.raises(BadInput, match="1 MiB free, 32 MiB needed"):
    RunDirectory.open(tmp_path / "run", CONFIG)
  assert not (tmp_path / "run").exists()
