"""The local engine: a config's sweep() run on this machine, from trials to the run table."""

import contextlib
import fcntl
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from data.errors import BadInput
from data.files import require_directory
from scaling import slots as scheduler
from scaling import table, trials
from scaling.slots import State
from scaling.trials import Trial

Show = Callable[[list[State]], None]  # how the trials stand
SILENT = contextlib.nullcontext[Show](lambda states: None)


class Stopped(Exception):
  """The sweep was asked to stop; its trials have saved. The same call continues it."""


class Failed(RuntimeError):
  """Trials kept failing; the others are done."""


def run(
  config_file: str,
  variant: str,
  base: Mapping[str, Any],
  module: str,
  workdir: os.PathLike | str,
  slots: int,
  watch: contextlib.AbstractContextManager[Show] = SILENT,
) -> pathlib.Path:
  """Expands, runs what is not done, and returns the path of runs.csv.

  Args:
    watch: entered while trials run; what it gives is called with their states, a few times a second.

  Raises BadInput when a trial's input is bad, Failed when one keeps failing (with the last lines of its log; the
  table of the others is written all the same), Stopped when asked to stop.
  """
  root = require_directory(workdir, "--workdir")
  expanded = trials.expand(config_file, variant, base, module)
  root.mkdir(parents=True, exist_ok=True)
  with open(root / "lock", "a") as lock, _Stop() as stop:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise BadInput("another sweep runs here", root, "wait for it, or choose another --workdir") from None
    _write_trials(root / "trials.jsonl", expanded)
    with watch as show:
      states = scheduler.run_trials(expanded, root, slots, stop.requested, show)
    finished = [root / s.trial.workdir for s in states if s.status == "done"]
    path = table.collect(finished, root / "runs.csv") if finished else root / "runs.csv"
    print(status_table(states))
    failed = [state for state in states if state.status == "failed"]
    if stop.requested():
      raise Stopped(f"{len(finished)} of {len(states)} trials are done; run the same command again")
    if failed:
      for state in failed:
        log = scheduler.log_path(state.trial, root)
        lines = "".join(f"\n  {line}" for line in scheduler.last_lines(state.trial, root))
        print(f"\n{state.trial.trial_id} ended with exit code {state.code} ({log}):{lines}", file=sys.stderr)
      what = f"{len(failed)} of {len(states)} trials failed, {failed[0].trial.trial_id} first"
      if failed[0].code == scheduler.BAD_INPUT:
        raise BadInput(what, root, "mend what the trial complains about and run the same command again")
      lasting = all(state.code == scheduler.LASTING for state in failed)
      raise Failed(f"{what}; " + ("mend its cause first" if lasting else "run the same command to try again"))
  return path


def _write_trials(path: pathlib.Path, expanded: list[Trial]) -> None:
  """Writes trials.jsonl; refuses a directory whose trials are all others than these."""
  if path.exists():
    ids = {trial.trial_id for trial in trials.read_trials(path)}
    if ids.isdisjoint(trial.trial_id for trial in expanded):
      raise BadInput("belongs to another sweep", path.parent, "choose another --workdir")
  trials.write_trials(path, expanded)


class _Stop:
  """SIGTERM or Ctrl-C asks the sweep to stop; its trials save and end."""

  def __enter__(self) -> "_Stop":
    self._asked = False
    self._old = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}
    return self

  def _ask(self, *_) -> None:
    self._asked = True

  def requested(self) -> bool:
    return self._asked

  def __exit__(self, *_) -> None:
    for number, handler in self._old.items():
      signal.signal(number, handler)


def status_table(states: list[State]) -> str:
  """One line per trial: id, status, faults, seconds, what distinguishes it."""
  lines = [f"{'trial':12}  {'status':8}  {'faults':>6}  {'seconds':>7}  overrides"]
  for state in states:
    shown = " ".join(f"{key}={value}" for key, value in state.trial.overrides.items())
    lines.append(
      f"{state.trial.trial_id:12}  {state.status:8}  {state.faults:6}  {state.seconds:7.0f}  {shown}"
    )
  return "\n".join(lines)
