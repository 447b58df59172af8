"""A sweep of trials that fail, are killed, preempted or bad; and a sweep that is itself killed."""

import collections
import fcntl
import io
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from data.errors import BadInput
from experiments import program, provenance
from experiments.attempt import Diverged
from experiments.program import exit_code
from scaling import launcher, local, slots, sweep, table, trials
from tests.test_imports import reachable

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MODULE = "tests.scaling.toy_trial"
CONFIG = """
from ml_collections import ConfigDict

def get_config(variant=""):
  return ConfigDict(dict(params=100, tokens=1000, seed=0, fault="", sleep=0.0))

def sweep(variant=""):
  faults = %r
  return [dict(params=1000 * 10 ** (i %% 3), tokens=10**5 * 10 ** (i // 3), seed=i, sleep=%r, fault=faults.get(i, ""))
    | {"trial.flops": 6e8 * 10 ** (i %% 3 + i // 3)} for i in range(%d)]
"""
DRIVER = "import sys; from scaling import local; local.run(sys.argv[1], '', {}, sys.argv[2], sys.argv[3], 2)"


@pytest.fixture
def config(tmp_path):
  def make(count: int, faults: dict[int, str], sleep: float = 0.0) -> str:
    path = tmp_path / "toy.py"
    path.write_text(CONFIG % (faults, sleep, count))
    return str(path)

  return make


def attempts(root: pathlib.Path) -> collections.Counter:
  return collections.Counter(path.parent.name for path in root.glob("runs/*/attempt-*"))


def test_faults_are_retried_and_the_table_is_complete(config, tmp_path, capsys):
  file = config(9, {3: "once", 5: "killed", 7: "preempted"})
  path = local.run(file, "", {}, MODULE, tmp_path / "w", 2)
  expanded = trials.expand(file, "", {}, MODULE)
  runs = table.read_runs(path)
  assert sorted(row["run_id"] for row in runs.rows) == sorted(trial.trial_id for trial in expanded)
  tries = [attempts(tmp_path / "w")[trial.trial_id] for trial in expanded]
  assert tries == [1, 1, 1, 2, 1, 2, 1, 5, 1]  # preemptions are not counted against the two retries
  before = path.read_bytes()
  assert local.run(file, "", {}, MODULE, tmp_path / "w", 2).read_bytes() == before
  assert sum(attempts(tmp_path / "w").values()) == sum(tries)
  assert "done" in capsys.readouterr().out


def test_lasting_fault_is_shown_and_the_rest_is_kept(config, tmp_path, capsys):
  file = config(4, {2: "always"})
  with pytest.raises(RuntimeError, match="1 of 4 trials failed"):
    local.run(file, "", {}, MODULE, tmp_path / "w", 2)
  assert "the toy fault" in capsys.readouterr().err
  assert max(attempts(tmp_path / "w").values()) == 3
  assert len(table.read_runs(tmp_path / "w" / "runs.csv")) == 3


def test_bad_input_is_never_retried(config, tmp_path):
  with pytest.raises(BadInput, match="1 of 3 trials failed"):
    local.run(config(3, {1: "bad"}), "", {}, MODULE, tmp_path / "w", 2)
  assert max(attempts(tmp_path / "w").values()) == 1


def test_a_fault_that_would_come_again_is_never_retried(config, tmp_path):
  with pytest.raises(local.Failed, match=r"1 of 3 trials failed.*mend its cause first"):
    local.run(config(3, {1: "lasting"}), "", {}, MODULE, tmp_path / "w", 2)
  assert max(attempts(tmp_path / "w").values()) == 1
  assert len(table.read_runs(tmp_path / "w" / "runs.csv")) == 2


def test_divergence_is_such_a_fault():
  assert exit_code(Diverged("three non-finite steps")) == slots.LASTING == program.LASTING
  assert exit_code(program.Fault("the disk went away")) == program.FAULT != slots.LASTING


def test_a_workdir_that_is_a_file_is_refused(config, tmp_path):
  (tmp_path / "w").touch()
  with pytest.raises(BadInput, match="give a directory as --workdir"):
    local.run(config(2, {}), "", {}, MODULE, tmp_path / "w", 2)


def states_of(trial_count: int, done: int, failed: int = 0) -> list[slots.State]:
  made = [trials.Trial(f"t{i}", MODULE, (), f"runs/t{i}", 0, 1e9 * 10**i, 0, {}) for i in range(trial_count)]
  kinds = ["done"] * done + ["failed"] * failed + ["running"] * (trial_count - done - failed)
  return [
    slots.State(t, kind, seconds=3.0 * (kind != "running")) for t, kind in zip(made, kinds, strict=True)
  ]


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_the_bar_counts_compute_not_trials(monkeypatch):
  """Trials of 1, 10 and 100 GFLOP: two of three are done, but a tenth of the work."""
  monkeypatch.setattr(sys, "stderr", Terminal())
  with sweep.Watch() as show:
    show(states_of(3, 0))
    show(states_of(3, 2))
  last = sys.stderr.getvalue().split("\r")[-1]
  assert "10%" in last and "11.0G/111G" in last and "done=2, running=1, failed=0" in last


def test_a_log_gets_a_line_per_ended_trial(capsys):
  with sweep.Watch() as show:
    for done in (0, 1, 1):
      show(states_of(3, done))
    show(states_of(3, 1, failed=1))
  first, second = capsys.readouterr().err.splitlines()
  assert first.startswith("sweep: t0 done in 3 s (1 of 3, ") and first.endswith(" left)")
  assert second.startswith("sweep: t1 failed in 3 s (2 of 3")


def test_killed_sweep_is_finished_by_the_same_command(config, tmp_path):
  file, root = config(8, {}, 0.4), tmp_path / "w"
  command = [sys.executable, "-c", DRIVER, file, MODULE, str(root)]
  driver = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  until = time.monotonic() + 60
  while len(list(root.glob("runs/*/result.json"))) < 3:
    assert time.monotonic() < until and driver.poll() is None
    time.sleep(0.02)
  driver.kill()
  driver.wait()
  done = set(root.glob("runs/*/result.json"))
  assert len(done) < 8 and not (root / "runs.csv").exists()
  times = {path: path.stat().st_mtime_ns for path in done}
  subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL, timeout=120)
  assert len(table.read_runs(root / "runs.csv")) == 8
  assert times == {path: path.stat().st_mtime_ns for path in done}  # what was done was not done again


def test_stopping_a_sweep_lets_its_trials_save(config, tmp_path):
  file, root = config(4, {}, 30.0), tmp_path / "w"
  command = [sys.executable, "-c", DRIVER, file, MODULE, str(root)]
  driver = subprocess.Popen(
    command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
  )
  until = time.monotonic() + 60
  while len(list(root.glob("runs/*/attempt-0"))) < 2:
    assert time.monotonic() < until and driver.poll() is None
    time.sleep(0.02)
  time.sleep(0.3)  # the toy has asked to be told of SIGTERM by now
  driver.send_signal(signal.SIGTERM)
  assert "0 of 4 trials are done; run the same command again" in driver.communicate(timeout=20)[1]


def test_two_sweeps_never_share_a_directory(config, tmp_path):
  (tmp_path / "w").mkdir()
  with open(tmp_path / "w" / "lock", "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(BadInput, match="another sweep runs here"):
      local.run(config(2, {}), "", {}, MODULE, tmp_path / "w", 2)
  assert sorted(path.name for path in (tmp_path / "w").iterdir()) == ["lock"]


def test_directory_of_another_sweep_is_refused(config, tmp_path):
  local.run(config(2, {}), "", {}, MODULE, tmp_path / "w", 2)
  other = config(2, {}, 0.01)
  with pytest.raises(BadInput, match="belongs to another sweep"):
    local.run(other, "", {}, MODULE, tmp_path / "w", 2)


def test_forked_trial_is_a_process_of_its_own(tmp_path):
  """Exit code, log, processors and session of a trial that the launcher forks."""
  code = "import os, sys; print(sorted(os.sched_getaffinity(0)), os.getsid(0) == os.getpid()); sys.exit(7)"
  (tmp_path / "one_off.py").write_text(code)
  cpu = min(os.sched_getaffinity(0))
  log = tmp_path / "log"
  order = f'{{"key": "k", "module": "one_off", "argv": [], "log": "{log}", "cpus": [{cpu}]}}\n'
  command = [sys.executable, "-m", launcher.__name__]
  environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{tmp_path}"}
  with subprocess.Popen(
    command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  ) as process:
    process.stdin.write(order)
    process.stdin.flush()
    assert '"pid"' in process.stdout.readline()
    assert '"code": 7' in process.stdout.readline()
    process.stdin.close()
  assert log.read_text() == f"[{cpu}] True\n"


def test_a_trial_knows_the_revision_that_was_imported(tmp_path):
  """The working tree changes while the launcher lives: trials still run, and name, what it began with."""
  (tmp_path / "revision").write_text("old")
  (tmp_path / "stamp.py").write_text(
    "import functools, pathlib\n"
    "@functools.cache\n"
    "def revision(): return pathlib.Path(__file__).with_name('revision').read_text()\n"
  )
  (tmp_path / "code.py").write_text("WHAT = 'old'\n")
  (tmp_path / "one_off.py").write_text("import stamp, code; print(stamp.revision(), code.WHAT)")
  order = f'{{"key": "k", "module": "one_off", "argv": [], "log": "{tmp_path / "log"}", "cpus": []}}\n'
  command = [sys.executable, "-m", launcher.__name__, "stamp:revision", "code"]
  environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
  with subprocess.Popen(
    command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  ) as process:
    for expected in ("old old", "old old"):
      process.stdin.write(order)
      process.stdin.flush()
      assert '"pid"' in process.stdout.readline() and '"code": 0' in process.stdout.readline()
      assert (tmp_path / "log").read_text().splitlines()[-1] == expected
      (tmp_path / "revision").write_text("new")
      (tmp_path / "code.py").write_text("WHAT = 'new'\n")
    process.stdin.close()


def test_the_revision_is_asked_for_once_and_first(monkeypatch):
  assert slots.PRELOAD["experiments.train"][0] == "experiments.provenance:git_revision"
  provenance.git_revision.cache_clear()
  said = iter([b"abc", b"", b"", b"def", b" M file", b""])
  monkeypatch.setattr(provenance, "_git", lambda *_: next(said))
  assert [provenance.git_revision(), provenance.describe()["git_revision"]] == ["abc", "abc"]
  provenance.git_revision.cache_clear()


def test_what_is_imported_before_forking_is_all_and_starts_no_backend():
  """A backend or a thread before the fork would make every child hang or share a device; a module imported after
  it would be of another revision than the one on record."""
  reached = reachable("experiments.train") - {"experiments.train"}
  code = (
    "import importlib, sys, pathlib, jax._src.xla_bridge as bridge\n"
    f"for name in {slots.PRELOAD['experiments.train']!r}:\n"
    "  module, _, function = name.partition(':')\n"
    "  module = importlib.import_module(module)\n"
    "  function and getattr(module, function)()\n"
    "assert not bridge.backends_are_initialized()\n"
    "assert len(list(pathlib.Path('/proc/self/task').iterdir())) == 1\n"
    f"assert not {reached!r} - set(sys.modules), {reached!r} - set(sys.modules)"
  )
  environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
  subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, check=True, timeout=60)
