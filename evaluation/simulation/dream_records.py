"""Dreams as training records: windows as those of logs, in which only the egos' moves are supervised.

A record begins where the trouble is complete, so that nobody learns how to get there; the others' moves are the
model's own. As many dreams of one scene are in a record as there are slots, each a group that sees itself only.
"""

import numpy as np

from data import context, motion
from data.windows import Window, WindowConfig, surroundings
from evaluation.simulation.dreams import FORCED, Dreams
from evaluation.simulation.scenarios import Scenarios, in_frame, turned


def records(
  scenarios: Scenarios, found: list[Dreams], shape: WindowConfig, domain: int
) -> list[list[Window]]:
  """Training records of dreams: by the scene they began in, as many together as there are slots, the arrays of its
  kind "windows"."""
  by_scene: dict[int, list[Window]] = {}
  for one in found:
    for c, state in zip(one.scenario_D, one.state_DxAxTxS, strict=True):
      by_scene.setdefault(int(scenarios.scene_C[c]), []).append(_slots(scenarios, c, state, shape))
  together = shape.agents // scenarios.known_CxA.shape[1]
  return [
    [_packed(rows[k : k + together], shape, domain) for k in range(0, len(rows), together)]
    for _, rows in sorted(by_scene.items())
  ]


def _slots(scenarios: Scenarios, c: int, state_AxTxS: np.ndarray, shape: WindowConfig) -> Window:
  """One dream from its trouble on, in the frame that the ego has there; one slot for each agent, the ego's first."""
  begin, windows = scenarios.observed + FORCED, {name: value[c] for name, value in scenarios.windows.items()}
  slots = np.flatnonzero(windows["group_A"] > 0)
  frame_3 = state_AxTxS[slots[0], begin, :3].astype(np.float64)
  state_TxAxS = in_frame(state_AxTxS[slots, begin : begin + shape.steps + 1], frame_3).swapaxes(0, 1)
  own = np.arange(len(slots))[None] == 0
  steps = np.ones((shape.steps, 1), bool)
  seen = {
    name: windows[name][slots] for name in ("size_Ax2", "spacing_A", "limit_AxP", "junction_AxP", "stop_AxQ")
  }
  return seen | {
    "tokens_TxA": moves_of(state_TxAxS),
    "valid_TxA": steps & windows["valid_TxA"][scenarios.observed, slots][None],
    "mask_TxA": steps & own,
    "state_TxAxS": state_TxAxS[:-1],
    "path_AxPx2": turned(windows["path_AxPx2"][slots] - frame_3[:2], -frame_3[2]),
    "signal_TxAxQ": windows["signal_TxAxQ"][begin : begin + shape.steps, slots],
    "type_A": windows["type_A"][slots],
    "moving_A": own[0],
  }  # fmt: skip


def moves_of(state_TxAxS: np.ndarray) -> np.ndarray:
  """int16 [T - 1, A]: the moves that led from state to state (data.motion.step leaves them in it)."""
  acceleration, yaw_rate = (state_TxAxS[1:, :, i, None] for i in (motion.ACCELERATION, motion.YAW_RATE))
  place = np.abs(acceleration - np.asarray(motion.ACCELERATIONS)).argmin(-1)
  yaw = np.abs(yaw_rate - np.asarray(motion.YAW_RATES)).argmin(-1)
  return (place * len(motion.YAW_RATES) + yaw).astype(np.int16)


def _packed(rows: list[Window], shape: WindowConfig, domain: int) -> Window:
  """Several dreams in one record, each a group that sees itself only, with the features of everybody."""
  window: Window = {name: np.zeros(kind, dtype) for name, (kind, dtype) in shape.spec.items()}
  window["domain"] = np.asarray(domain, np.uint8)
  window["stop_AxQ"][:] = context.FAR
  slot = 0
  for number, row in enumerate(rows, start=1):
    into = slice(slot, slot + len(row["type_A"]))
    for name, value in row.items():
      window[name][(slice(None), into) if "_TxA" in name else into] = value
    window["group_A"][into] = number
    slot = into.stop
  stacked = {name: value[None] for name, value in window.items()}
  seen = context.features(stacked["state_TxAxS"], stacked["valid_TxA"], surroundings(stacked))
  return window | {"features_TxAxF": seen[0].astype(np.float16)}
