"""How the trials of a sweep stand, read from its directory alone, and the log of their starts.

W/attempts.jsonl, append only: one record per call of a sweep and, for every trial that it starts, one at the start
and one at the end. A trial is done when its run directory holds result.json; it runs while a process holds the lock
of that directory (flock: the kernel lets go when the process dies, however it dies).
"""

import dataclasses
import fcntl
import json
import os
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from data.errors import BadInput
from data.files import canonical_json
from scaling.sweeps.trials import Trial

STATUSES = ("done", "running", "failed", "lost", "waiting")
PREEMPTED, BAD_INPUT, LASTING = 42, 2, 3
NEVER_AGAIN = (BAD_INPUT, LASTING)
OVERDUE = "ran longer than max_hours"


@dataclasses.dataclass
class State:
  """How a trial stands.

  Attributes:
    status: "done"; "running"; "failed", for good in the last call of the sweep; "lost", begun, without a result and
      nobody works on it; "waiting".
    faults, seconds, code: of the last call of the sweep: ends that count against the retries, time spent, the last
      exit code.
    since: when the running attempt began, as time.time(); 0 when unknown.
  """

  trial: Trial
  status: str = "waiting"
  faults: int = 0
  seconds: float = 0.0
  code: int | None = None
  since: float = 0.0


def is_done(trial: Trial, root: pathlib.Path) -> bool:
  return (root / trial.workdir / "result.json").exists()


def is_locked(path: pathlib.Path) -> bool:
  """Whether a living process holds the lock file `path`."""
  if not path.exists():
    return False
  with open(path) as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
      return True
  return False


def is_held(trial: Trial, root: pathlib.Path) -> bool:
  """Whether a living process works in the trial's run directory."""
  return is_locked(root / trial.workdir / "lock")


def log_path(trial: Trial, root: pathlib.Path) -> pathlib.Path:
  return root / "logs" / f"{trial.trial_id}.log"


def last_lines(path: pathlib.Path, count: int = 5) -> list[str]:
  """The end of a log: why something failed."""
  text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
  return [line for line in text.splitlines() if line.strip()][-count:]


class AttemptLog:
  """W/attempts.jsonl. Several threads may write to it."""

  def __init__(self, root: pathlib.Path):
    self._path, self._writing = root / "attempts.jsonl", threading.Lock()

  def sweep(self, engine: str, slots: int) -> None:
    """A call of the sweep begins; what is counted, is counted from here."""
    command = ["python", "-m", "scaling.sweep", *sys.argv[1:]]
    self._append({"event": "sweep", "engine": engine, "slots": slots, "command": command})

  def start(self, trial: Trial) -> None:
    self._append({"event": "start", "trial_id": trial.trial_id})

  def end(self, trial: Trial, code: int, seconds: float, why: str = "") -> None:
    """Args: `code` of the trial's process, negative when a signal killed it; `why` says more than the code."""
    record = {"event": "end", "trial_id": trial.trial_id, "exit_code": code, "seconds": round(seconds, 3)}
    self._append(record | ({"why": why} if why else {}))

  def _append(self, record: dict[str, Any]) -> None:
    record = {"time": round(time.time(), 3), "host": socket.gethostname(), "pid": os.getpid(), **record}
    line = (canonical_json(record) + "\n").encode()
    with self._writing, open(self._path, "a+b", buffering=0) as file:
      size = file.seek(0, os.SEEK_END)
      if size:
        file.seek(size - 1)
        line = line if file.read(1) == b"\n" else b"\n" + line  # a kill left half a line
      file.write(line)


def read_attempts(root: pathlib.Path) -> list[dict[str, Any]]:
  """The records of W/attempts.jsonl in order; what a kill cut short is left out."""
  path, records = root / "attempts.jsonl", []
  if not path.exists():
    return []
  for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
    try:
      record = json.loads(line)
    except ValueError:
      continue
    if not isinstance(record, dict) or "event" not in record or "time" not in record:
      raise BadInput(f"{line[:60]!r} is no record of an attempt", path, "delete the line")
    records.append(record)
  return records


def read_states(trials: Sequence[Trial], root: pathlib.Path, alive: bool) -> list[State]:
  """How every trial stands, in their order.

  Args:
    alive: whether the sweep itself runs now: only then has a start without an end a process that may not hold its
      lock yet.
  """
  now: dict[str, list[dict]] = {}
  before: dict[str, dict] = {}
  for record in read_attempts(root):
    if record["event"] == "sweep":
      before |= {trial_id: records[-1] for trial_id, records in now.items()}
      now = {}
    else:
      now.setdefault(record["trial_id"], []).append(record)
  return [_state(t, root, now.get(t.trial_id, []), before.get(t.trial_id), alive) for t in trials]


def _state(trial: Trial, root: pathlib.Path, records: list[dict], before: dict | None, alive: bool) -> State:
  ends = [record for record in records if record["event"] == "end"]
  state = State(trial, seconds=sum(end["seconds"] for end in ends))
  state.faults = sum(end["exit_code"] not in (0, PREEMPTED) or "why" in end for end in ends)
  state.code = ends[-1]["exit_code"] if ends else None
  last = records[-1] if records else before
  begun = last is not None and last["event"] == "start"
  if is_done(trial, root):
    state.status = "done"
  elif (begun and alive and records) or is_held(trial, root):
    state.status = "running"
    state.since = float(last["time"]) if last is not None and begun else 0.0
  elif ends and last is ends[-1] and (is_final(last) or state.faults > trial.retries):
    state.status = "failed"
  elif begun or (last is None and (root / trial.workdir / "attempts.jsonl").exists()):
    state.status = "lost"
  return state


def is_hopeless(trials: Sequence[Trial], root: pathlib.Path) -> bool:
  """Whether nothing is done and several trials have refused their input with the same words: all would."""
  stand = read_states(trials, root, True)
  ended = [state for state in stand if state.code is not None]
  words = {tuple(last_lines(log_path(state.trial, root), 1)) for state in ended}
  refused = all(state.code == BAD_INPUT for state in ended)
  return refused and len(ended) > 1 == len(words) and all(state.status != "done" for state in stand)


def is_final(end: dict) -> bool:
  """Whether the end of an attempt says that another would end like it."""
  return end["exit_code"] in NEVER_AGAIN or "why" in end


def status_table(states: Sequence[State]) -> str:
  """One line per trial: id, status, faults, seconds, what distinguishes it."""
  lines = [f"{'trial':12}  {'status':8}  {'faults':>6}  {'seconds':>7}  overrides"]
  for state in states:
    shown = " ".join(f"{key}={value}" for key, value in state.trial.overrides.items())
    lines.append(
      f"{state.trial.trial_id:12}  {state.status:8}  {state.faults:6}  {state.seconds:7.0f}  {shown}"
    )
  return "\n".join(lines)
