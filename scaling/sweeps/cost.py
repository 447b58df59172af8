"""What trials cost: FLOPs, tokens, and the time they take at a rate that was stated or measured, never assumed."""

import os
import pathlib
import time
from collections.abc import Sequence

from data.errors import BadInput
from data.files import read_json, require_directory
from scaling.sweeps.states import State, read_states
from scaling.sweeps.trials import Trial


def measured_rate(states: Sequence[State], root: pathlib.Path) -> float | None:
  """FLOP/s of one trial: FLOPs over seconds of the finished runs below `root`; None when there is none."""
  flops = seconds = 0.0
  for state in states:
    if state.status == "done":
      path = root / state.trial.workdir / "result.json"
      row = read_json(path, "delete it and run the same command again")
      if row.get("seconds") and row.get("flops"):
        flops, seconds = flops + float(row["flops"]), seconds + float(row["seconds"])
  return flops / seconds if seconds else None


def seconds_left(states: Sequence[State], rate: float, slots: int, now: float) -> float | None:
  """Seconds until all have ended, `slots` at a time; None when a trial's FLOPs are not known.

  At least the longest trial's own time. What a running trial has done by `now` (as time.time()) is subtracted.
  """
  each = []
  for state in states:
    if state.status in ("running", "waiting", "lost"):
      if not state.trial.flops:
        return None
      spent = now - state.since if state.status == "running" and state.since else 0.0
      each.append(max(0.0, state.trial.flops / rate - spent))
  return max([sum(each) / slots, *each]) if each else 0.0


def describe(trials: Sequence[Trial], workdir: os.PathLike | str, stated: float, slots: int) -> str:
  """One line per trial, what is left of all, and the hours it takes; nothing is written.

  Args:
    stated: FLOP/s of one trial; 0: as measured in finished runs below `workdir`.
  """
  root = require_directory(workdir, "--workdir")
  states = read_states(trials, root, False)
  measured = None if stated else measured_rate(states, root)
  rate = stated or measured
  lines = []
  for state in states:
    trial, hours = state.trial, ""
    if trial.max_hours and rate and trial.flops / rate / 3600 > trial.max_hours:
      remedy = "raise trial.max_hours, or give it a faster machine"
      what = (
        f"needs {trial.flops / rate / 3600:.3g} h at {rate:.3g} FLOP/s, above its {trial.max_hours:.3g} h"
      )
      raise BadInput(what, f"trial {trial.trial_id}", remedy)
    if rate:
      hours = f"{trial.flops / rate / 3600:.3g} h "
    cost = f"{trial.flops:.3g} FLOPs {trial.tokens:.3g} tokens {hours}"
    lines.append(f"{trial.trial_id} {state.status} {cost}{' '.join(trial.argv)}")
  done = [state for state in states if state.status == "done"]
  flops, tokens = sum(t.flops for t in trials), sum(t.tokens for t in trials)
  lines.append(f"{len(trials)} trials, {flops:.3g} FLOPs, {tokens:.3g} tokens; {len(done)} done")
  if rate is None:
    lines.append("hours: unknown; state --flops_per_second, or let a run finish")
    return "\n".join(lines)
  remaining = [State(state.trial, "waiting") for state in states if state.status != "done"]
  left = seconds_left(remaining, rate, slots, time.time())
  source = "stated" if stated else f"measured in {len(done)} finished runs"
  how = f"{slots} at a time, {rate:.3g} FLOP/s each, {source}"
  lines.append(
    f"hours: {'unknown, a trial has no trial.flops' if left is None else f'{left / 3600:.3g}'} ({how})"
  )
  return "\n".join(lines)


def clock(seconds: float) -> str:
  """7265 -> 2:01:05."""
  minutes, rest = divmod(round(seconds), 60)
  return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
