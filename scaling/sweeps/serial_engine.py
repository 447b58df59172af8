"""The engine without dependencies: one trial after the other, the biggest first."""

import pathlib
import subprocess
import sys
from collections.abc import Callable

from scaling.sweeps import attempts
from scaling.sweeps.states import AttemptLog, is_hopeless, log_path
from scaling.sweeps.trials import Trial


def run_trials(
  trials: list[Trial],
  root: pathlib.Path,
  slots: int,
  stopping: Callable[[], bool],
  changed: Callable[[], None],
) -> None:
  """Runs what is not done; returns when all have ended, or, after `stopping()`, when the running one has saved.

  Args:
    slots: not looked at; there is one, with all processors.
    changed: called a few times a second.
  """
  log = AttemptLog(root)
  log.sweep("serial", 1)
  told = False

  def start(trial: Trial) -> tuple[int, attempts.Wait]:
    with open(log_path(trial, root), "ab") as output:
      process = subprocess.Popen(
        [sys.executable, "-m", trial.module, *trial.arguments(root)],
        stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
      )  # fmt: skip

    def wait(seconds: float) -> int | None:
      nonlocal told
      if stopping() and not told:
        told = True
        process.terminate()
      changed()
      try:
        return process.wait(min(seconds, attempts.POLL_SECONDS))
      except subprocess.TimeoutExpired:
        return None

    return process.pid, wait

  for trial in sorted(trials, key=lambda t: -t.flops):
    for _ in range(1 + trial.retries):
      try:
        attempts.attempt(trial, root, start, log, stopping)
        break
      except attempts.FailedForGood:
        if is_hopeless(trials, root):
          return
        break
      except attempts.Failed:
        continue
      except attempts.Gone:
        return
