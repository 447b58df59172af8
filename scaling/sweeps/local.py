"""A sweep on this machine: from trials to the run table, whatever the engine."""

import contextlib
import fcntl
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO

from data.errors import BadInput
from data.files import read_json, require_directory, require_free_space
from scaling import curves, table
from scaling.sweeps import serial_engine, snakemake_engine, trials
from scaling.sweeps.attempts import EngineFailed
from scaling.sweeps.states import (
  BAD_INPUT,
  LASTING,
  State,
  is_done,
  last_lines,
  log_path,
  read_states,
  status_table,
)
from scaling.sweeps.trials import Trial

ENGINES = {"local": snakemake_engine.run_trials, "serial": serial_engine.run_trials}
Show = Callable[[list[State]], None]  # how the trials stand
SILENT = contextlib.nullcontext[Show](lambda states: None)
_SPARE_BYTES = 64 * 2**20  # for logs and tables; runs ask for their own space


class Stopped(Exception):
  """The sweep was asked to stop; its trials have saved. The same call continues it."""


class Failed(RuntimeError):
  """Trials kept failing; the others are done."""


def run(
  expanded: list[Trial],
  workdir: os.PathLike | str,
  engine: str,
  slots: int,
  watch: contextlib.AbstractContextManager[Show] = SILENT,
) -> pathlib.Path:
  """Runs what is not done, and returns the path of runs.csv.

  Args:
    engine: one of ENGINES.
    watch: entered while trials run; what it gives is called with their states, a few times a second.

  Raises BadInput when a trial's input is bad, Failed when one keeps failing (with the last lines of its log; the
  table of the others is written all the same), Stopped when asked to stop.
  """
  root = require_directory(workdir, "--workdir")
  check([trial for trial in expanded if not is_done(trial, root)], root, engine)
  root.mkdir(parents=True, exist_ok=True)
  with open(root / "lock", "a") as lock, _Stop() as stop:
    if not _take(lock):
      raise BadInput("another sweep runs here", root, "wait for it, or choose another --workdir")
    write_trials(root / "trials.jsonl", expanded)
    (root / "logs").mkdir(exist_ok=True)
    broken = ""
    with watch as show:
      try:
        if not all(is_done(trial, root) for trial in expanded):
          ENGINES[engine](
            expanded, root, slots, stop.requested, lambda: show(read_states(expanded, root, True))
          )
      except EngineFailed as error:
        broken = str(error)
      states = read_states(expanded, root, False)
      show(states)
    finished = [root / s.trial.workdir for s in states if s.status == "done"]
    path = table.collect(finished, root / "runs.csv") if finished else root / "runs.csv"
    curves.collect(finished, root / curves.NAME)
    print(status_table(states))
    if stop.requested():
      raise Stopped(f"{len(finished)} of {len(states)} trials are done; run the same command again")
    if broken:
      raise Failed(f"{broken}; {len(finished)} of {len(states)} trials are done; run the same command again")
    if len(finished) < len(states):
      _explain(states, root)
  return path


def _take(lock: IO) -> bool:
  """Locks a file; whoever only asks whether it is held (scaling.status) holds it for an instant."""
  for _ in range(10):
    with contextlib.suppress(BlockingIOError):
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return True
    time.sleep(0.02)
  return False


def check(pending: Sequence[Trial], root: pathlib.Path, engine: str) -> None:
  """Raises BadInput for what would make the trials that are not done fail, before there is a directory."""
  if not pending:
    return
  if engine == "local":
    snakemake_engine.require()
  for dataset in dict.fromkeys(trial.dataset for trial in pending):
    read_json(pathlib.Path(dataset) / "dataset.json", "make the dataset, or set --config.data.dataset=DIR")
  require_free_space(root, _SPARE_BYTES)


def write_trials(path: pathlib.Path, expanded: list[Trial]) -> None:
  """Writes trials.jsonl; refuses a directory whose trials are all others than these."""
  if path.exists():
    ids = {trial.trial_id for trial in trials.read_trials(path)}
    if ids.isdisjoint(trial.trial_id for trial in expanded):
      raise BadInput("belongs to another sweep", path.parent, "choose another --workdir")
  trials.write_trials(path, expanded)


def _explain(states: Sequence[State], root: pathlib.Path) -> None:
  """Prints why trials failed, and raises the exception that says what to do."""
  failed = [state for state in states if state.status == "failed"]
  if not failed:
    path = root / "logs" / "snakemake.log"
    text = "".join(f"\n  {line}" for line in last_lines(path, 15))
    print(f"\nthe engine ended before its trials ({path}):{text}", file=sys.stderr)
    raise Failed(f"{sum(s.status != 'done' for s in states)} of {len(states)} trials were left undone")
  said: dict[tuple[str, ...], State] = {}
  for state in failed:
    said.setdefault(tuple(last_lines(log_path(state.trial, root))), state)
  for lines, state in said.items():
    text = "".join(f"\n  {line}" for line in lines)
    path = log_path(state.trial, root)
    print(f"\n{state.trial.trial_id} ended with exit code {state.code} ({path}):{text}", file=sys.stderr)
  bad = [state for state in failed if state.code == BAD_INPUT]
  what = f"{len(failed)} of {len(states)} trials failed, {(bad or failed)[0].trial.trial_id} among them"
  if bad:
    raise BadInput(what, root, "mend what the trial complains about and run the same command again")
  lasting = all(state.code == LASTING for state in failed)
  raise Failed(f"{what}; " + ("mend its cause first" if lasting else "run the same command to try again"))


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
