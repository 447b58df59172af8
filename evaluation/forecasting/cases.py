"""Forecasting cases: pieces of held-out scenes, cut into what is observed and what is to be forecast.

A piece is `observed_s + horizon_s` long. Agents with a logged position at every frame of it are scored, at the
rate of the log; the model sees the piece as windows at the rate of its tokens.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from data.errors import BadInput
from data.schema import Scene
from data.windows import Window, WindowConfig, windows_of


@dataclasses.dataclass(frozen=True)
class Cases:
  """B windows of one shape. Frames are those of the log; positions are in the scene's frame, m.

  Attributes:
    windows: stacked window arrays [B, ...]; moves from `observed` on are the future.
    frame_s: seconds between log frames. stride: log frames per move.
    observed, steps: moves seen and moves to forecast.
    history_BxHxAx2: logged positions up to and with the last one observed.
    truth_BxAxNx2: logged positions to forecast. scored_BxA: slots that count.
    frame_BxAx3: origin (x, y) and heading of the frame that a slot's window arrays are in.
    left_out: agents logged throughout that the tokeniser has cut or left without a slot.
  """

  windows: Window
  frame_s: float
  observed: int
  steps: int
  stride: int
  history_BxHxAx2: np.ndarray
  truth_BxAxNx2: np.ndarray
  scored_BxA: np.ndarray
  frame_BxAx3: np.ndarray
  left_out: int

  def to_scene(self, position_BxAxNx2: np.ndarray) -> np.ndarray:
    """From the window's frames to the scene's."""
    x, y, heading = (self.frame_BxAx3[..., i, None] for i in range(3))
    cos, sin = np.cos(heading), np.sin(heading)
    ahead, left = position_BxAxNx2[..., 0], position_BxAxNx2[..., 1]
    return np.stack([x + cos * ahead - sin * left, y + sin * ahead + cos * left], -1)


def make_cases(
  scenes: Iterable[Scene], window: WindowConfig, observed_s: float, horizon_s: float, pieces: int
) -> Cases:
  """Cuts scenes into disjoint pieces from their first frame on (`pieces` per scene, 0: all that fit).

  Raises BadInput when the times are no multiples of the token period, exceed the model's window, or no agent
  is logged throughout a piece.
  """
  observed, steps = (round(span / window.dt) for span in (observed_s, horizon_s))
  if min(observed, steps) < 1 or abs((observed + steps) * window.dt - observed_s - horizon_s) > 1e-6:
    raise BadInput(
      f"{observed_s} s and {horizon_s} s are no multiples of the token period {window.dt} s",
      "--observed_s, --horizon_s",
      "change them",
    )
  if observed + steps > window.steps:
    raise BadInput(
      f"{observed + steps} moves exceed the model's window of {window.steps}",
      "--observed_s, --horizon_s",
      "shorten them",
    )
  shape = dataclasses.replace(window, steps=observed + steps, phases=1, least_moves=0)
  rows, left_out, stride = [], 0, 0
  for scene in scenes:
    stride = round(window.dt / scene.metadata.dt)
    length = (observed + steps) * stride
    starts = range(0, len(scene.valid_TxA) - length, length)
    for start in starts[: pieces or None]:
      found, missing = piece(crop(scene, start, start + length + 1), shape, observed, stride)
      rows += found
      left_out += missing
  if not any(row["scored"].any() for row in rows):
    raise BadInput(
      f"no agent is logged for {observed_s + horizon_s} s", "the split", "shorten --observed_s or --horizon_s"
    )
  if len({len(row["history"]) for row in rows}) > 1:
    raise BadInput("scenes have different frame rates", "the split", "forecast them one by one")
  stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  history, truth, scored, frame = (stacked.pop(name) for name in ("history", "truth", "scored", "frame"))
  return Cases(stacked, window.dt / stride, observed, steps, stride, history, truth, scored, frame, left_out)


def crop(scene: Scene, start: int, stop: int) -> Scene:
  """Frames start to stop of a scene."""
  names = ("position_TxAx2", "heading_TxA", "velocity_TxAx2", "valid_TxA", "lane_TxA", "signal_TxL")
  return dataclasses.replace(scene, **{name: getattr(scene, name)[start:stop] for name in names})


def piece(scene: Scene, shape: WindowConfig, observed: int, stride: int) -> tuple[list[Window], int]:
  """Windows of one piece with the logged truth of their slots, and how many agents have no slot."""
  whole = np.asarray(scene.valid_TxA.all(0))
  # Who gets a slot, in which group and in whose frame, must not depend on who is there later.
  past = np.arange(len(scene.valid_TxA))[:, None] <= observed * stride
  found = []
  for window in windows_of(dataclasses.replace(scene, valid_TxA=scene.valid_TxA & past), shape, 0):
    column_A, mask_TxA, taken = window["agent_A"], window["mask_TxA"], window["group_A"] > 0
    frame = np.zeros((len(column_A), 3))
    for group in np.unique(window["group_A"][taken]):
      members = window["group_A"] == group
      ego = int(members.argmax())
      first, column = int(window["valid_TxA"][:, ego].argmax()) * stride, column_A[ego]
      frame[members] = [*scene.position_TxAx2[first, column], scene.heading_TxA[first, column]]
    position, now = scene.position_TxAx2[:, column_A], observed * stride
    extra = {
      "history": position[: now + 1],
      "truth": position[now + 1 :].swapaxes(0, 1),
      "scored": taken & whole[column_A] & mask_TxA[observed - 1],
      "frame": frame,
    }
    found.append(window | extra)
  return found, int(whole.sum()) - sum(int(row["scored"].sum()) for row in found)
