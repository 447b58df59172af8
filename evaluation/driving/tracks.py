"""Every agent of a live world as training would have logged it: states and moves at the rate of the tokens."""

import dataclasses

import numpy as np

from data import motion
from data.sumo_live import LiveWorld


@dataclasses.dataclass(frozen=True)
class Look:
  """A moment of N slots. state_NxS: data.motion's state. move_N: the token that led to it, where moved_N; else a track
  begins. seen_N: the agent is there. serial_N: which agent. now_Nx2, before_Nx2: m, positions now and a look ago."""

  state_NxS: np.ndarray
  move_N: np.ndarray
  moved_N: np.ndarray
  seen_N: np.ndarray
  serial_N: np.ndarray
  now_Nx2: np.ndarray
  before_Nx2: np.ndarray


def look(live: LiveWorld, last: Look | None, dt: float) -> Look:
  """The encoder of `data.motion`, one move on: `last` is how the world looked `dt` s ago, None at first."""
  rows = np.flatnonzero(live.present_N)
  heading, now = live.heading_N[rows], live.centre_Nx2[rows]
  ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
  state = motion.first_state(now, heading, live.speed_N[rows, None] * ahead)
  move, moved, before = np.full(len(rows), motion.KEEP), np.zeros(len(rows), bool), now
  if last is not None:
    before = last.now_Nx2[rows]
    known = np.where(last.moved_N[rows, None], last.before_Nx2[rows], np.nan)
    token, following, missed = motion.pursue(last.state_NxS[rows], known, before, now, heading, dt)
    moved = last.seen_N[rows] & (last.serial_N[rows] == live.serial_N[rows]) & ~missed
    state, move = np.where(moved[:, None], following, state), np.where(moved, token, move)
  every = len(live.present_N)

  def spread(values: np.ndarray) -> np.ndarray:
    """Of all slots, zero where nobody is."""
    found = np.zeros((every, *values.shape[1:]), values.dtype)
    found[rows] = values
    return found

  there = live.present_N.copy(), live.serial_N.copy()
  return Look(spread(state), spread(move), spread(moved), *there, spread(now), spread(before))
