"""The local engine: Snakemake runs the trials on the slots of this machine (Mölder et al., F1000Research 2021).

Snakemake decides what runs when: slots, the biggest first, retries, what is done already. The Snakefile beside tells it
about the trials. It never deletes or judges a result.json, which is written atomically and by the trial alone: hence
--ignore-incomplete and --keep-incomplete. Its own lock of the directory would outlive a kill; ours does not.
"""

import contextlib
import fcntl
import importlib.util
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO

from data.errors import BadInput
from scaling.sweeps.attempts import EngineFailed
from scaling.sweeps.launching import PRELOAD, Launcher
from scaling.sweeps.states import AttemptLog
from scaling.sweeps.trials import Trial

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 30.0  # for Snakemake to end when nothing runs any more; nothing is lost when it is killed
_REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def require() -> None:
  """Raises BadInput when Snakemake is not installed."""
  if importlib.util.find_spec("snakemake") is None:
    raise BadInput("Snakemake is not installed", "--engine=local", "run make env, or take --engine=serial")


def run_trials(
  trials: list[Trial],
  root: pathlib.Path,
  slots: int,
  stopping: Callable[[], bool],
  changed: Callable[[], None],
) -> None:
  """Runs what is not done; returns when all have ended, or, after `stopping()`, when the running ones have saved.

  Args:
    changed: called a few times a second.

  Raises EngineFailed when Snakemake or the launcher is killed.
  """
  log = root / "logs" / "snakemake.log"
  with _engine_lock(root, stopping) as lock:
    if stopping():
      return
    AttemptLog(root).sweep("local", slots)
    with Launcher(PRELOAD.get(trials[0].module, ())) as launcher, open(log, "wb") as output:
      environment = os.environ | {
        "DRIVETRAIN_LAUNCHER": launcher.address,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_REPOSITORY), os.environ.get("PYTHONPATH")])),
        "XDG_CACHE_HOME": str((root / ".snakemake" / "cache").absolute()),
      }
      process = subprocess.Popen(
        command(root, slots), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True, pass_fds=(lock.fileno(),),
      )  # fmt: skip
      told, patience = False, PATIENCE_SECONDS
      while process.poll() is None:
        if not told and (stopping() or launcher.code is not None):
          told = True
          launcher.close()  # Snakemake sees it, and ends when its trials have
        if told and launcher.code is not None:
          patience -= POLL_SECONDS
          if patience < 0:
            process.kill()
        changed()
        time.sleep(POLL_SECONDS)
    if launcher.code and not stopping():
      raise EngineFailed(f"the launcher ended with exit code {launcher.code}; its error is above")
    if process.returncode < 0 and not stopping():
      raise EngineFailed(f"Snakemake was killed by signal {-process.returncode}")


def command(root: pathlib.Path, slots: int) -> list[str]:
  """Snakemake's command line."""
  return [
    sys.executable, "-m", "snakemake", "all",
    "--snakefile", str(pathlib.Path(__file__).with_name("Snakefile")), "--directory", str(root),
    "--cores", str(slots), "--force-use-threads", "--keep-going", "--scheduler", "greedy",
    "--ignore-incomplete", "--keep-incomplete", "--nolock", "--rerun-triggers", "mtime",
    "--latency-wait", "0", "--profile", "none", "--workflow-profile", "none", "--nocolor",
  ]  # fmt: skip


@contextlib.contextmanager
def _engine_lock(root: pathlib.Path, stopping: Callable[[], bool]) -> Iterator[IO]:
  """Held by Snakemake too, so that one whose sweep was killed is waited for: its trials are saving."""
  with open(root / "engine.lock", "a") as lock:
    said = False
    while not stopping():
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
      except BlockingIOError:
        if not said:
          print("sweep: waiting for the trials of the last call to save", file=sys.stderr, flush=True)
        said = True
        time.sleep(POLL_SECONDS)
    yield lock


def share_cpus(slots: int) -> list[list[int]]:
  """This process's processors in `slots` equal parts; one each when there are fewer than slots."""
  if not hasattr(os, "sched_getaffinity"):
    return [[] for _ in range(slots)]
  cpus = sorted(os.sched_getaffinity(0))
  if len(cpus) < slots:
    return [[cpus[i % len(cpus)]] for i in range(slots)]
  return [cpus[i * len(cpus) // slots : (i + 1) * len(cpus) // slots] for i in range(slots)]
