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
  heading, now = live.heading_N, live.centre_Nx2.copy()
  ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
  state = motion.first_state(now, heading, live.speed_N[:, None] * ahead)
  move, moved, before = np.full(len(heading), motion.KEEP), np.zeros(len(heading), bool), now
  if last is not None:
    known = np.where(last.moved_N[:, None], last.before_Nx2, np.nan)
    token, following, missed = motion.pursue(last.state_NxS, known, last.now_Nx2, now, heading, dt)
    moved = live.present_N & last.seen_N & (last.serial_N == live.serial_N) & ~missed
    state, move = np.where(moved[:, None], following, state), np.where(moved, token, move)
    before = last.now_Nx2
  return Look(state, move, moved, live.present_N.copy(), live.serial_N.copy(), now, before)
