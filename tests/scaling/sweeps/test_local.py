"""Sweeps of trials that fail, are killed, preempted or bad; and sweeps that are themselves killed."""

import fcntl
import json
import os
import pathlib
import signal

import pytest

from data.errors import BadInput
from experiments import program
from experiments.attempt import Diverged
from experiments.program import exit_code
from scaling import table
from scaling.sweeps import local, states
from scaling.sweeps.states import read_attempts
from tests.scaling.conftest import MODULE, until


def children(pid: int) -> dict[str, int]:
  """Process ids below `pid`, by the module they run."""
  found = {}
  for place in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
      argv = (place / "cmdline").read_bytes().decode().split("\0")
    except OSError:
      continue
    if parent == pid and "-m" in argv:
      found[argv[argv.index("-m") + 1]] = int(place.name)
  return found


def test_twenty_trials_with_faults_and_a_killed_driver(toys):
  """One fails once, one is killed once, one is preempted four times, the driver is killed at half: the same command
  again completes the table, and does nothing twice."""
  expanded = toys.make(20, {18: "once", 17: "killed", 16: "preempted"}, 0.2)
  with toys.call() as driver:
    until(lambda: len(toys.results()) >= 10 or driver.poll() is not None)
    driver.kill()
  done = toys.results()
  assert 10 <= len(done) < 20 and not (toys.root / "runs.csv").exists()
  files = {path: path.stat().st_ino for path in done}
  with toys.call() as driver:
    said = driver.communicate()[0]
  assert driver.returncode == 0, said
  runs = table.read_runs(toys.root / "runs.csv")
  assert sorted(row["run_id"] for row in runs.rows) == sorted(trial.trial_id for trial in expanded)
  assert files == {path: path.stat().st_ino for path in done}  # nobody wrote them again
  tries = toys.attempts()
  needed = {trial.trial_id: 1 for trial in expanded}
  needed |= {expanded[18].trial_id: 2, expanded[17].trial_id: 2, expanded[16].trial_id: 5}
  again = [tries[trial] - least for trial, least in needed.items()]
  assert min(again) >= 0 and sum(again) <= 2  # whichever two were running when the driver was killed
  before = {path: path.read_bytes() for path in toys.root.rglob("*") if path.is_file()}
  assert local.run(expanded, toys.root, "local", 2) == toys.root / "runs.csv"
  assert before == {path: path.read_bytes() for path in toys.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("engine", local.ENGINES)
def test_every_exit_code_means_the_same_to_every_engine(toys, engine, capsys):
  faults = {5: "bad", 4: "lasting", 3: "always", 2: "once", 1: "preempted"}
  expanded = toys.make(6, faults)
  with pytest.raises(BadInput, match="3 of 6 trials failed"):
    local.run(expanded, toys.root, engine, 2)
  tries = toys.attempts()
  assert [tries[trial.trial_id] for trial in expanded] == [1, 5, 2, 3, 1, 1]
  stand = states.read_states(expanded, toys.root, False)
  assert [s.status for s in stand] == ["done", "done", "done", "failed", "failed", "failed"]
  assert [s.faults for s in stand] == [0, 0, 1, 3, 1, 1]  # preemptions do not count
  assert [s.code for s in stand] == [0, 0, 0, 1, 3, 2]
  shown = capsys.readouterr()
  assert "the toy fault" in shown.err and "the toy config is bad" in shown.err
  assert len(table.read_runs(toys.root / "runs.csv")) == 3
  cost = {trial.trial_id: trial.flops for trial in expanded}
  begun = [cost[r["trial_id"]] for r in read_attempts(toys.root) if r["event"] == "start"]
  assert sorted(begun[:2]) == sorted(cost.values())[-2:]  # the biggest first
  assert engine != "serial" or begun == sorted(begun, reverse=True)


@pytest.mark.parametrize("engine", local.ENGINES)
def test_input_that_is_bad_for_all_is_said_once(toys, engine, capsys):
  """Two trials say the same of their input: the other six are not asked."""
  expanded = toys.make(8, dict.fromkeys(range(8), "bad"), 0.5)
  with pytest.raises(BadInput, match="of 8 trials failed"):
    local.run(expanded, toys.root, engine, 2)
  assert 2 <= len(toys.attempts()) <= 4 and capsys.readouterr().err.count("the toy config is bad") == 1


def test_a_fault_that_would_come_again_says_so(toys):
  expanded = toys.make(2, {1: "lasting"})
  with pytest.raises(local.Failed, match=r"1 of 2 trials failed.*mend its cause first"):
    local.run(expanded, toys.root, "serial", 1)
  row = json.loads((toys.root / expanded[0].workdir / "result.json").read_text())
  row |= {"run_id": expanded[1].trial_id, "seed": 1}
  (toys.root / expanded[1].workdir / "result.json").write_text(json.dumps(row))
  assert len(table.read_runs(local.run(expanded, toys.root, "serial", 1))) == 2


def test_divergence_is_such_a_fault():
  assert exit_code(Diverged("three non-finite steps")) == states.LASTING == program.LASTING
  assert exit_code(program.Fault("the disk went away")) == program.FAULT != states.LASTING
  assert (program.PREEMPTED, program.BAD_INPUT) == (states.PREEMPTED, states.BAD_INPUT)


def test_an_orphan_is_waited_for_and_its_result_kept(toys):
  """Driver, launcher and Snakemake are killed at once: nobody is left to ask the trials to save. One ends before the
  next call. While that waits for the biggest in its only slot, the third ends. Snakemake must take neither result for
  a leftover of itself."""
  early, late, big = expanded = toys.make(3, {}, 60.0)
  with toys.call(slots=3) as driver:
    until(lambda: len(toys.attempts()) == 3 or driver.poll() is not None)
    below = children(driver.pid)
    for blow in (
      signal.SIGSTOP,
      signal.SIGKILL,
    ):  # none may see another die: the launcher would ask the trials to save
      for pid in (below["scaling.sweeps.launcher"], below["snakemake"], driver.pid):
        os.kill(pid, blow)

  def finish(trial):
    (toys.root / trial.workdir / "finish").touch()
    until((toys.root / trial.workdir / "result.json").exists)

  assert all(states.is_held(trial, toys.root) for trial in expanded)
  assert [s.status for s in states.read_states(expanded, toys.root, False)] == ["running"] * 3
  finish(early)
  log = toys.root / "logs" / "snakemake.log"
  log.unlink()
  with toys.call(slots=1) as driver:
    until(lambda: (log.exists() and f"trial_{big.trial_id}" in log.read_text()) or driver.poll() is not None)
    finish(late)
    finish(big)
    said = driver.communicate(timeout=30)[0]
  assert driver.returncode == 0, said
  assert toys.attempts() == {trial.trial_id: 1 for trial in expanded}  # nobody started them again
  assert len(table.read_runs(toys.root / "runs.csv")) == 3
  starts = [record for record in read_attempts(toys.root) if record["event"] == "start"]
  assert len(starts) == 3


def test_stopping_a_sweep_lets_its_trials_save(toys):
  expanded = toys.make(4, {}, 30.0)
  with toys.call() as driver:
    until(lambda: len(toys.attempts()) == 2 or driver.poll() is not None)
    until(lambda: len(list(toys.root.glob("runs/*/ready"))) == 2)
    driver.send_signal(signal.SIGTERM)
    said = driver.communicate(timeout=30)[0]
  assert "0 of 4 trials are done; run the same command again" in said
  stand = states.read_states(expanded, toys.root, False)
  assert [s.status for s in stand] == ["waiting"] * 4 and {s.code for s in stand} == {42, None}


def test_a_killed_launcher_ends_the_sweep_at_once(toys):
  toys.make(4, {}, 3.0)
  with toys.call() as driver:
    until(lambda: len(toys.attempts()) == 2 or driver.poll() is not None)
    os.kill(children(driver.pid)["scaling.sweeps.launcher"], signal.SIGKILL)
    said = driver.communicate(timeout=30)[0]
  assert driver.returncode == 1 and "the launcher ended with exit code -9" in said
  assert "0 of 4 trials are done; run the same command again" in said
  assert len(toys.attempts()) == 2


def test_overdue_trial_is_stopped_and_not_started_again(toys):
  toys.make(1, {}, 30.0)
  toys.file.write_text(
    toys.file.read_text().replace('"trial.flops"', '"trial.max_hours": 5e-4, "trial.flops"')
  )
  expanded = local.trials.expand(str(toys.file), "", {}, MODULE)
  with pytest.raises(local.Failed, match="1 of 1 trials failed"):
    local.run(expanded, toys.root, "serial", 1)
  (end,) = (record for record in read_attempts(toys.root) if record["event"] == "end")
  assert end["exit_code"] == 42 and end["why"] == states.OVERDUE and 1.8 < end["seconds"] < 10


def test_a_missing_dataset_is_one_sentence_before_anything_starts(toys):
  expanded = toys.make(3, {})
  (toys.dataset / "dataset.json").unlink()
  with pytest.raises(BadInput, match=r"dataset.json: no such file; make the dataset"):
    local.run(expanded, toys.root, "local", 2)
  assert not toys.root.exists()


def test_results_from_elsewhere_need_neither_dataset_nor_engine(toys, monkeypatch):
  """What a cloud left in its bucket becomes the table here."""
  expanded = toys.make(2, {})
  local.run(expanded, toys.root, "serial", 1)
  (toys.root / "runs.csv").unlink()
  (toys.dataset / "dataset.json").unlink()
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  assert len(table.read_runs(local.run(expanded, toys.root, "local", 1))) == 2


def test_without_snakemake_the_other_engine_is_named(toys, monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(BadInput, match="Snakemake is not installed; run make env, or take --engine=serial"):
    local.run(toys.make(1, {}), toys.root, "local", 2)
  assert not toys.root.exists()


def test_a_workdir_that_is_a_file_is_refused(toys):
  toys.root.touch()
  with pytest.raises(BadInput, match="give a directory as --workdir"):
    local.run(toys.make(2, {}), toys.root, "serial", 2)


def test_two_sweeps_never_share_a_directory(toys):
  toys.root.mkdir()
  with open(toys.root / "lock", "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(BadInput, match="another sweep runs here"):
      local.run(toys.make(2, {}), toys.root, "serial", 2)
  assert sorted(path.name for path in toys.root.iterdir()) == ["lock"]


def test_directory_of_another_sweep_is_refused(toys):
  local.run(toys.make(1, {}), toys.root, "serial", 2)
  with pytest.raises(BadInput, match="belongs to another sweep"):
    local.run(toys.make(1, {}, 0.01), toys.root, "serial", 2)
