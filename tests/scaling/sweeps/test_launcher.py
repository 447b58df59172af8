"""The process that forks trials: what a child is, and what it knows of its code."""

import os
import pathlib
import subprocess
import sys

import pytest

from experiments import provenance
from scaling.sweeps import launching
from scaling.sweeps.attempts import Gone
from tests.scaling.conftest import until
from tests.test_imports import reachable

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]


def end(launcher: launching.Launcher, log: pathlib.Path, cpus: list[int]) -> int:
  """Exit code of a child that runs one_off."""
  _, wait = launching.start(launcher.address, "one_off", [], log, cpus)
  code = wait(30.0)
  assert code is not None
  return code


def test_forked_trial_is_a_process_of_its_own(tmp_path, monkeypatch):
  """Exit code, log, processors, session and open sockets of a trial that the launcher forks."""
  (tmp_path / "one_off.py").write_text(
    "import os, stat, sys\n"
    "sockets = [fd for fd in range(3, 100) if os.path.exists(f'/proc/self/fd/{fd}') and"
    " stat.S_ISSOCK(os.fstat(fd).st_mode)]\n"
    "print(sorted(os.sched_getaffinity(0)), os.getsid(0) == os.getpid(), sockets)\n"
    "sys.exit(7)"
  )
  monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{tmp_path}")
  cpu = min(os.sched_getaffinity(0))
  with launching.Launcher(()) as launcher:
    link = launching.Link(launcher.address)
    assert end(launcher, tmp_path / "log", [cpu]) == 7
    assert not link.broken()
    launcher.close()
    assert launcher.wait() == 0 and link.broken()
    with pytest.raises(Gone):
      launching.start(launcher.address, "one_off", [], tmp_path / "log", [cpu])
  assert (tmp_path / "log").read_text() == f"[{cpu}] True []\n"
  assert not pathlib.Path(launcher.address).parent.exists()


def test_a_launcher_that_loses_its_sweep_asks_its_trials_to_stop(tmp_path, monkeypatch):
  (tmp_path / "one_off.py").write_text(
    "import pathlib, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))\n"
    "pathlib.Path(sys.argv[1]).touch()\n"
    "time.sleep(30)"
  )
  monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{tmp_path}")
  with launching.Launcher(()) as launcher:
    _, wait = launching.start(launcher.address, "one_off", [str(tmp_path / "ready")], tmp_path / "log", [])
    until((tmp_path / "ready").exists)
    assert wait(0.01) is None
    launcher.close()
    assert wait(10.0) == 42
    assert launcher.wait() == 0 and not pathlib.Path(launcher.address).parent.exists()


def test_a_trial_knows_the_revision_that_was_imported(tmp_path, monkeypatch):
  """The working tree changes while the launcher lives: trials still run, and name, what it began with."""
  (tmp_path / "revision").write_text("old")
  (tmp_path / "stamp.py").write_text(
    "import functools, pathlib\n"
    "@functools.cache\n"
    "def revision(): return pathlib.Path(__file__).with_name('revision').read_text()\n"
  )
  (tmp_path / "code.py").write_text("WHAT = 'old'\n")
  (tmp_path / "one_off.py").write_text("import stamp, code; print(stamp.revision(), code.WHAT)")
  monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
  with launching.Launcher(("stamp:revision", "code")) as launcher:
    for expected in ("old old", "old old"):
      assert end(launcher, tmp_path / "log", []) == 0
      assert (tmp_path / "log").read_text().splitlines()[-1] == expected
      (tmp_path / "revision").write_text("new")
      (tmp_path / "code.py").write_text("WHAT = 'new'\n")


def test_the_revision_is_asked_for_once_and_first(monkeypatch):
  assert launching.PRELOAD["experiments.train"][0] == "experiments.provenance:git_revision"
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
    f"for name in {launching.PRELOAD['experiments.train']!r}:\n"
    "  module, _, function = name.partition(':')\n"
    "  module = importlib.import_module(module)\n"
    "  function and getattr(module, function)()\n"
    "assert not bridge.backends_are_initialized()\n"
    "assert len(list(pathlib.Path('/proc/self/task').iterdir())) == 1\n"
    f"assert not {reached!r} - set(sys.modules), {reached!r} - set(sys.modules)"
  )
  environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
  subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, check=True, timeout=60)
