"""A runtime with fixed priorities: planning at its time, background work only where it cannot be in the way.

Tasks are released every period and run to their end, the first of the list before the others; what is done in the
background is cut into pieces, and a piece is begun only if the longest yet, or what it was declared to take, ends
before the next release. One thread: nothing is preempted, so a piece that takes longer than it says delays what is
released meanwhile, and that is counted. Response is from release to end; a deadline is missed when it is longer than
that. Non-preemptive fixed priorities: K. Jeffay et al., RTSS 1991.

Answers are digested: the same record must give the same bits whenever it comes.
"""

import dataclasses
import gc
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from data.errors import BadInput
from export.latency import tail


class Clock(Protocol):
  """Seconds since some moment; sleep returns at `until` or later."""

  def now(self) -> float: ...

  def sleep(self, until: float) -> None: ...


class WallClock:
  def now(self) -> float:
    return time.perf_counter()

  def sleep(self, until: float) -> None:
    time.sleep(max(0.0, until - time.perf_counter()))


@dataclasses.dataclass(frozen=True)
class Task:
  """Released at 0, period_s, 2 period_s, ...; its k-th run answers record k mod `records`: arrays by name."""

  name: str
  period_s: float
  deadline_s: float
  records: int
  answer: Callable[[int], Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Background:
  """piece(k) does the k-th piece; longest_s: what a piece is declared to take."""

  longest_s: float
  piece: Callable[[int], object]


@dataclasses.dataclass
class Runs:
  """Of one task. digests: of every record's first answer; unequal: (record, run) of answers that were others."""

  responses_s: list[float] = dataclasses.field(default_factory=list)
  missed: int = 0
  digests: dict[int, str] = dataclasses.field(default_factory=dict)
  unequal: list[tuple[int, int]] = dataclasses.field(default_factory=list)
  whole: "hashlib._Hash" = dataclasses.field(default_factory=hashlib.sha256)

  def report(self) -> dict[str, object]:
    """Milliseconds of responses, deadlines missed, SHA-256 over all answers in order."""
    return {
      "runs": len(self.responses_s),
      "missed": self.missed,
      "response_ms": tail(1e3 * np.asarray(self.responses_s)),
      "sha256": self.whole.hexdigest(),
      "unequal": len(self.unequal),
      "first_unequal": self.unequal[:1],
    }


def drive(
  tasks: Sequence[Task], background: Background | None, seconds: float, clock: Clock
) -> tuple[dict[str, Runs], int]:
  """(runs of every task by name, pieces of the background done) of all releases before `seconds`.

  Args: tasks: the most urgent first.
  """
  for task in tasks:
    if not 0 < task.deadline_s <= task.period_s:
      what = f"a deadline of {task.deadline_s} s in a period of {task.period_s} s"
      raise BadInput(
        what, f"task {task.name}", "give a deadline that is positive and no longer than the period"
      )
  runs = {task.name: Runs() for task in tasks}
  done = {task.name: 0 for task in tasks}
  pieces, longest = 0, background.longest_s if background else 0.0
  collects = gc.isenabled()
  gc.disable()  # a collection falls into whichever answer is running
  try:
    start = clock.now()
    while True:
      now = clock.now() - start
      release = {task.name: done[task.name] * task.period_s for task in tasks}
      waiting = [task for task in tasks if release[task.name] < seconds]
      if not waiting:
        return runs, pieces
      ready = next((task for task in waiting if release[task.name] <= now), None)
      if ready is not None:
        k = done[ready.name]
        said = ready.answer(k % ready.records)
        response = clock.now() - start - release[ready.name]
        _note(runs[ready.name], said, k, k % ready.records, response, response > ready.deadline_s)
        done[ready.name] = k + 1
        continue
      soon = min(release[task.name] for task in waiting)
      if background and now + longest <= soon:
        background.piece(pieces)
        pieces += 1
        longest = max(longest, clock.now() - start - now)
        continue
      clock.sleep(start + soon)
  finally:
    if collects:
      gc.enable()


def _note(
  runs: Runs, said: Mapping[str, np.ndarray], k: int, record: int, response: float, missed: bool
) -> None:
  runs.responses_s.append(response)
  runs.missed += missed
  digest = hashlib.sha256()
  for name in sorted(said):
    value = np.ascontiguousarray(said[name])
    digest.update(f"{name} {value.dtype} {value.shape} ".encode())
    digest.update(value.tobytes())
  text = digest.hexdigest()
  if runs.digests.setdefault(record, text) != text:
    runs.unequal.append((record, k))
  runs.whole.update(digest.digest())
