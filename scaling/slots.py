"""Runs trials on the slots of this machine: biggest first, retried by exit code, resumed by the next call.

A trial is done when its run directory holds result.json, and never started again. Its lock tells whether a
process from an earlier sweep still works on it: such an orphan keeps its slot and is waited for. Exit codes:
0 done, 42 preempted (start again, not counted), 2 bad input and 3 a fault that would come again (never again),
others counted up to `trial.retries`.
"""

import collections
import dataclasses
import fcntl
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from scaling.trials import Trial

PREEMPTED, BAD_INPUT, LASTING = 42, 2, 3
POLL_SECONDS = 0.2
# What a module imports anyway, and without flags; before it, the revision of what is imported.
PRELOAD = {"experiments.train": ("experiments.provenance:git_revision", "experiments.run")}


@dataclasses.dataclass
class State:
  """How a trial stands: "waiting", "running", "done" or "failed"; `code` is its last exit code."""

  trial: Trial
  status: str = "waiting"
  faults: int = 0
  seconds: float = 0.0
  code: int | None = None


@dataclasses.dataclass
class _Slot:
  """Processors for one trial at a time. `pid` is 0 while the launcher starts it, -1 for an orphan."""

  cpus: list[int]
  state: State | None = None
  pid: int = 0
  begun: float = 0.0


def is_done(trial: Trial, root: pathlib.Path) -> bool:
  return (root / trial.workdir / "result.json").exists()


def is_held(trial: Trial, root: pathlib.Path) -> bool:
  """Whether a living process holds the lock of the trial's run directory."""
  path = root / trial.workdir / "lock"
  if not path.exists():
    return False
  with open(path) as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
      return True
  return False


def log_path(trial: Trial, root: pathlib.Path) -> pathlib.Path:
  return root / "logs" / f"{trial.trial_id}.log"


def last_lines(trial: Trial, root: pathlib.Path, count: int = 5) -> list[str]:
  """The end of a trial's log: why it failed."""
  path = log_path(trial, root)
  text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
  return [line for line in text.splitlines() if line.strip()][-count:]


def run_trials(
  trials: list[Trial],
  root: pathlib.Path,
  slots: int,
  stopping: Callable[[], bool],
  changed: Callable[[list[State]], None],
) -> list[State]:
  """Runs what is not done; returns when all have ended, or, after `stopping()`, when the running ones have.

  Args:
    stopping: asked often; True sends SIGTERM to what runs and starts nothing more.
    changed: called when a trial starts or ends, and a few times a second between.
  """
  states = [State(t, "done" if is_done(t, root) else "waiting") for t in trials]
  if all(state.status == "done" for state in states):
    changed(states)
    return states
  order = sorted((s for s in states if s.status == "waiting"), key=lambda s: -s.trial.flops)
  waiting = collections.deque(order)
  places = [_Slot(cpus) for cpus in _share_cpus(slots)]
  (root / "logs").mkdir(parents=True, exist_ok=True)
  told = False
  with _Launcher(trials[0].module) as launcher:
    while waiting or any(slot.state for slot in places):
      if stopping() and not told:
        told = True
        waiting.clear()
        for slot in places:
          if slot.state and slot.pid > 0:
            os.kill(slot.pid, signal.SIGTERM)
      for slot in places:
        if slot.state is None and waiting:
          _fill(slot, waiting.popleft(), root, launcher)
      changed(states)
      for event in launcher.events(POLL_SECONDS):
        slot = next(s for s in places if s.state and s.state.trial.trial_id == event["key"])
        if "pid" in event:
          slot.pid = event["pid"]
        else:
          _ended(slot, event["code"], root, waiting, told)
      for slot in places:
        if slot.pid == -1 and slot.state and not is_held(slot.state.trial, root):
          _ended(slot, 0 if is_done(slot.state.trial, root) else PREEMPTED, root, waiting, told)
    changed(states)
  return states


def _fill(slot: _Slot, state: State, root: pathlib.Path, launcher: "_Launcher") -> None:
  state.status, slot.state, slot.begun, slot.pid = "running", state, time.monotonic(), 0
  if is_held(state.trial, root):
    slot.pid = -1
  else:
    launcher.start(state.trial, root, slot.cpus)


def _ended(slot: _Slot, code: int, root: pathlib.Path, waiting: collections.deque, stopping: bool) -> None:
  """Decides what the end of a trial's process means, and frees the slot."""
  state = slot.state
  assert state is not None
  slot.state = None
  state.seconds += time.monotonic() - slot.begun
  state.code = code
  if code == 0 and is_done(state.trial, root):
    state.status = "done"
    return
  state.status = "waiting"
  if code == PREEMPTED or is_held(state.trial, root):  # held: an orphan was quicker to take the lock
    if not stopping:
      waiting.append(state)
    return
  if stopping and code < 0:
    return
  state.faults += 1
  if code in (BAD_INPUT, LASTING) or state.faults > state.trial.retries:
    state.status = "failed"
  elif not stopping:
    waiting.append(state)


def _share_cpus(slots: int) -> list[list[int]]:
  """This process's processors in `slots` equal parts; one each when there are fewer than slots."""
  if not hasattr(os, "sched_getaffinity"):
    return [[] for _ in range(slots)]
  cpus = sorted(os.sched_getaffinity(0))
  if len(cpus) < slots:
    return [[cpus[i % len(cpus)]] for i in range(slots)]
  return [cpus[i * len(cpus) // slots : (i + 1) * len(cpus) // slots] for i in range(slots)]


class _Launcher:
  """The other end of scaling/launcher.py."""

  def __init__(self, module: str):
    # One compile cache for all trials: seeds of one size compile once. BLAS threads would forbid forking.
    environment = {
      "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path("build/jax-cache").absolute()),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "OPENBLAS_NUM_THREADS": "1",
      "OMP_NUM_THREADS": "1",
    } | os.environ
    self._process = subprocess.Popen(
      [sys.executable, "-m", "scaling.launcher", *PRELOAD.get(module, ())],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip
    self._pending = b""

  def __enter__(self) -> "_Launcher":
    return self

  def __exit__(self, *_) -> None:
    assert self._process.stdin and self._process.stdout
    self._process.stdin.close()  # its signal to stop what may still run, and leave
    self._process.wait()
    self._process.stdout.close()

  def start(self, trial: Trial, root: pathlib.Path, cpus: list[int]) -> None:
    order = {"key": trial.trial_id, "module": trial.module, "argv": trial.arguments(root), "cpus": cpus}
    assert self._process.stdin
    self._process.stdin.write((json.dumps(order | {"log": str(log_path(trial, root))}) + "\n").encode())
    self._process.stdin.flush()

  def events(self, seconds: float) -> Iterator[dict]:
    """What the launcher says within `seconds`; RuntimeError when it has died."""
    assert self._process.stdout
    if not select.select([self._process.stdout], [], [], seconds)[0]:
      return
    received = os.read(self._process.stdout.fileno(), 1 << 16)
    if not received:
      raise RuntimeError(f"the launcher ended with exit code {self._process.wait()}; its error is above")
    *lines, self._pending = (self._pending + received).split(b"\n")
    yield from (json.loads(line) for line in lines)
