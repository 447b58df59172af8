"""A vehicle that changes its model while it drives: one state and what each event makes of it, in a clock's seconds.

            offered            verified          warmed up          between two frames
  driving ──────────▶ fetching ────────▶ warming ──────────▶ ready ────────────────────▶ proving ──▶ driving
     ▲  refused, too late, power lost: the old model, untouched                             │
     └────────────────────────── not well: the old model again ◀────────────────────────────┘

The old model answers until the new one has been verified (federated/updates.py) and has answered once beside it; it is
kept until the new one has proved itself. Only `active` and, while proving, `kept` are ever started from: whatever a
vehicle dies of before the swap leaves the old one active, and a vehicle that dies while proving comes back with it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

Phase = Literal["driving", "fetching", "warming", "ready", "proving"]


@dataclasses.dataclass(frozen=True)
class Timing:
  """Seconds: to fetch and warm up in, and that a new model has to be well for."""

  fetch: float
  warm: float
  prove: float


@dataclasses.dataclass(frozen=True)
class Runtime:
  """active: version that answers. coming: the one on its way. kept: to go back to. refused: never taken again."""

  active: int
  phase: Phase = "driving"
  coming: int | None = None
  kept: int | None = None
  since: float = 0.0
  refused: frozenset[int] = frozenset()


def offered(state: Runtime, version: int, now: float) -> Runtime:
  """A version is wanted, and one on its way that is not is dropped. The active one, or one refused, changes nothing."""
  if state.phase == "proving" and version == state.kept:
    return unwell(state, now)  # the roll-out was stopped
  if state.coming is not None and version != state.coming:
    return _dropped(state, now)
  if state.phase != "driving" or version == state.active or version in state.refused:
    return state
  return dataclasses.replace(state, phase="fetching", coming=version, since=now)


def verified(state: Runtime, good: bool, now: float) -> Runtime:
  """The files are all there, and signed, or they are not: they are fetched again when they are next offered."""
  if state.phase != "fetching":
    return state
  return dataclasses.replace(state, phase="warming", since=now) if good else _dropped(state, now)


def warmed(state: Runtime, good: bool, now: float) -> Runtime:
  """The new model has answered beside the old one, or failed to: then this vehicle takes it no more."""
  if state.phase != "warming":
    return state
  return dataclasses.replace(state, phase="ready", since=now) if good else _dropped(state, now, refuse=True)


def frame(state: Runtime, now: float) -> Runtime:
  """Between two frames: the only moment at which the active model changes without a start."""
  if state.phase != "ready" or state.coming is None:
    return state
  return dataclasses.replace(
    state, active=state.coming, phase="proving", coming=None, kept=state.active, since=now
  )


def unwell(state: Runtime, now: float) -> Runtime:
  """The new model is not well: the old one answers the next frame."""
  if state.phase != "proving":
    return state
  refused = state.refused | {state.active}
  return Runtime(state.kept if state.kept is not None else state.active, since=now, refused=refused)


def ticked(state: Runtime, timing: Timing, now: float) -> Runtime:
  """Time has passed: what takes too long is dropped, and a model that was well for long enough stays."""
  past = now - state.since
  if (state.phase == "fetching" and past > timing.fetch) or (state.phase == "warming" and past > timing.warm):
    return _dropped(state, now)
  if state.phase == "proving" and past >= timing.prove:
    return dataclasses.replace(state, phase="driving", kept=None, since=now)
  return state


def restarted(state: Runtime, now: float) -> Runtime:
  """After power was lost, or the process died: the model that is known to be well."""
  return unwell(state, now) if state.phase == "proving" else _dropped(state, now)


def _dropped(state: Runtime, now: float, refuse: bool = False) -> Runtime:
  refused = state.refused | {state.coming} if refuse and state.coming is not None else state.refused
  return Runtime(state.active, since=now, refused=refused)


class Answering:
  """Models by version behind one call: an answer is of one model, and no call waits for a change.

  models: {version: callable}; those that the state no longer names are let go.
  """

  def __init__(self, state: Runtime, model: Callable[..., Any]):
    self.state, self.models = state, {state.active: model}

  def warm(self, model: Callable[..., Any], example: Any, now: float) -> None:
    """Runs the coming model once beside the active one."""
    try:
      model(example)
    except Exception:  # whatever it is, it does not get to drive
      self._to(warmed(self.state, False, now))
      return
    if self.state.coming is not None:
      self.models[self.state.coming] = model
    self._to(warmed(self.state, True, now))

  def __call__(self, record: Any, now: float) -> tuple[int, Any]:
    """(version that answered, its answer); a model that fails while it is proving is replaced in the same call."""
    self._to(frame(self.state, now))
    version = self.state.active
    try:
      return version, self.models[version](record)
    except Exception:
      if self.state.phase != "proving":
        raise
    self._to(unwell(self.state, now))
    return self.state.active, self.models[self.state.active](record)

  def _to(self, state: Runtime) -> None:
    self.state = state
    self.models = {v: m for v, m in self.models.items() if v in (state.active, state.coming, state.kept)}
