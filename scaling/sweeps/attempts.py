"""One attempt at a trial on this machine: started, waited for, its exit code understood, all of it on record.

Exit codes: 0 done; 42 preempted after saving (started again at once, not counted); 2 bad input and 3 a fault that
would come again (never started again); all others count against `trial.retries`.
"""

import contextlib
import os
import pathlib
import signal
import time
from collections.abc import Callable

from scaling.sweeps.states import NEVER_AGAIN, OVERDUE, PREEMPTED, AttemptLog, is_done, is_held
from scaling.sweeps.trials import Trial

POLL_SECONDS = 0.1
Wait = Callable[[float], int | None]  # seconds to the exit code, None while the process lives
Start = Callable[[Trial], tuple[int, Wait]]  # starts a trial's process: its id, and how to wait for its end


class Gone(Exception):
  """Whoever starts processes does so no more: the sweep is being stopped, or was killed."""


class EngineFailed(Exception):
  """What runs the trials ended before they did."""


class Failed(Exception):
  """The trial failed; another attempt may succeed."""


class FailedForGood(Failed):
  """The trial failed, and another attempt would end the same way."""


def attempt(
  trial: Trial, root: pathlib.Path, start: Start, log: AttemptLog, stopping: Callable[[], bool]
) -> None:
  """Works at a trial until it is done.

  A process of an earlier sweep that still works on the trial is waited for: two would spoil each other's work.

  Raises Failed or FailedForGood, and Gone when the trial is not done and nothing is to be started any more.
  """
  while True:
    while is_held(trial, root):
      if stopping():
        raise Gone
      time.sleep(POLL_SECONDS)
    if is_done(trial, root):
      return
    if stopping():
      raise Gone
    log.start(trial)
    begun = time.monotonic()
    pid, wait = start(trial)
    code, overdue = _follow(pid, wait, trial.max_hours)
    held = code != 0 and is_held(trial, root)  # an orphan was quicker to take the lock
    if code == 0 and not is_done(trial, root):
      code = 1  # whatever ended there was no run
    why = OVERDUE if overdue and code else ""
    log.end(trial, PREEMPTED if held else code, time.monotonic() - begun, why)
    if why or (code in NEVER_AGAIN and not held):
      raise FailedForGood(f"{trial.trial_id}: {why or f'exit code {code}'}")
    if code not in (0, PREEMPTED) and not held:
      raise Failed(f"{trial.trial_id}: exit code {code}")


def _follow(pid: int, wait: Wait, max_hours: float | None) -> tuple[int, bool]:
  """The exit code of a process, and whether it was asked to stop because its time was up."""
  until, overdue = time.monotonic() + 3600 * (max_hours or float("inf")), False
  while (code := wait(min(60.0, max(0.05, until - time.monotonic())))) is None:
    if time.monotonic() >= until:
      overdue, until = True, float("inf")
      with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, signal.SIGTERM)
  return code, overdue
