"""The local engine: a config's sweep() run on this machine, from trials to the run table."""

import fcntl
import os
import pathlib
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from data.errors import BadInput
from scaling import slots as scheduler
from scaling import table, trials
from scaling.slots import State
from scaling.trials import Trial


class Stopped(Exception):
  """The sweep was asked to stop; its trials have saved. The same call continues it."""


def run(
  config_file: str,
  variant: str,
  base: Mapping[str, Any],
  module: str,
  workdir: os.PathLike | str,
  slots: int,
  label: str = "sweep",
) -> pathlib.Path:
  """Expands, runs what is not done, and returns the path of runs.csv.

  Raises BadInput when a trial's input is bad, RuntimeError when one keeps failing (with the last lines of
  its log; the table of the others is written all the same), Stopped when asked to stop.
  """
  root = pathlib.Path(workdir)
  expanded = trials.expand(config_file, variant, base, module)
  root.mkdir(parents=True, exist_ok=True)
  with open(root / "lock", "a") as lock, _Stop() as stop:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise BadInput("another sweep runs here", root, "wait for it, or choose another --workdir") from None
    _write_trials(root / "trials.jsonl", expanded)
    with _Bar(expanded, label) as bar:
      states = scheduler.run_trials(expanded, root, slots, stop.requested, bar.show)
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
      raise RuntimeError(f"{what}; run the same command to try again")
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


class _Bar:
  """Progress by expected FLOPs on a terminal, one line per finished trial elsewhere."""

  def __init__(self, expanded: list[Trial], label: str):
    self._cost = {t.trial_id: t.flops or 1.0 for t in expanded}
    self._label, self._begun = label, time.monotonic()
    self._ended: set[str] = set()
    self._bar: Any = None
    self._before: float | None = None

  def __enter__(self) -> "_Bar":
    if sys.stderr.isatty():
      import tqdm

      shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
      self._bar = tqdm.tqdm(total=len(self._cost), desc=self._label, bar_format=shape, dynamic_ncols=True)
    return self

  def __exit__(self, *_) -> None:
    if self._bar is not None:
      self._bar.close()

  def show(self, states: list[State]) -> None:
    done = sum(self._cost[s.trial.trial_id] for s in states if s.status == "done")
    if self._before is None:
      self._before = done
    counts = [sum(s.status == status for s in states) for status in ("done", "running", "failed")]
    elapsed, made = time.monotonic() - self._begun, done - self._before
    remaining = sum(self._cost[s.trial.trial_id] for s in states if s.status in ("waiting", "running"))
    left = f", {_clock(elapsed * remaining / made)} left" if made else ""
    if self._bar is not None:
      self._bar.n = counts[0]
      self._bar.set_postfix_str(f"{counts[0]} done, {counts[1]} running, {counts[2]} failed{left}")
      return
    for state in states:
      if state.status in ("done", "failed") and state.seconds and state.trial.trial_id not in self._ended:
        self._ended.add(state.trial.trial_id)
        name = f"{self._label}: {state.trial.trial_id} {state.status} in {state.seconds:.0f} s"
        print(f"{name} ({sum(counts[::2])} of {len(states)}{left})", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
  minutes, rest = divmod(round(seconds), 60)
  return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def status_table(states: list[State]) -> str:
  """One line per trial: id, status, faults, seconds, what distinguishes it."""
  lines = [f"{'trial':12}  {'status':8}  {'faults':>6}  {'seconds':>7}  overrides"]
  for state in states:
    shown = " ".join(f"{key}={value}" for key, value in state.trial.overrides.items())
    lines.append(
      f"{state.trial.trial_id:12}  {state.status:8}  {state.faults:6}  {state.seconds:7.0f}  {shown}"
    )
  return "\n".join(lines)
