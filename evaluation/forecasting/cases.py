"""Forecasting cases: pieces of held-out scenes, cut into what is observed and what is to be forecast.

A piece is `observed_s + horizon_s` long. Agents with a logged position at every frame of it are scored, at the
rate of the log; the model sees the piece as windows at the rate of its tokens. Agents whose log cannot be are not in a
piece: what they did is counted by name, and the rest of it goes on without them.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from data.errors import BadInput
from data.schema import Scene
from data.windows import Window, WindowConfig, windows_of

LEAPT, NO_POSITION, NO_MAP = "an agent leapt", "no position", "no map"
_FASTEST = 80.0  # m/s between two frames


class NobodyThroughout(BadInput):
  """No agent is logged from the first frame to the last of any piece."""

  def __init__(self, seconds: float):
    what = f"no agent is logged for {seconds} s"
    super().__init__(what, "the split", "shorten --observed_s or --horizon_s")


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
    scene_B, domain_B: identifier of the scene and name of its domain.
    left_out: agents logged throughout that the tokeniser has cut or left without a slot.
    faults: agents that no piece holds, by what is wrong with their log, and pieces without a map; see `sound`.
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
  scene_B: np.ndarray
  domain_B: np.ndarray
  left_out: int
  faults: dict[str, int]

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

  Raises BadInput when the times are no multiples of the token period or exceed the model's window, NobodyThroughout
  when no agent is logged throughout a piece.
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
  rows: list[dict[str, Any]] = []
  left_out, stride = 0, 0
  faults: Counter[str] = Counter()
  for scene in scenes:
    stride = round(window.dt / scene.metadata.dt)
    length = (observed + steps) * stride
    starts = range(0, len(scene.valid_TxA) - length, length)
    for start in starts[: pieces or None]:
      whole, broken = sound(crop(scene, start, start + length + 1))
      faults += broken
      found, missing = piece(whole, shape, observed, stride) if whole.valid_TxA.any() else ([], 0)
      whose = {"scene_id": scene.metadata.scene_id, "domain_name": scene.metadata.domain}
      rows += [row | whose for row in found]
      left_out += missing
  if not any(row["scored"].any() for row in rows):
    raise NobodyThroughout(observed_s + horizon_s)
  if len({len(row["history"]) for row in rows}) > 1:
    raise BadInput("scenes have different frame rates", "the split", "forecast them one by one")
  stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  names = ("history", "truth", "scored", "frame", "scene_id", "domain_name")
  history, truth, scored, frame, scene_B, domain_B = (stacked.pop(name) for name in names)
  rates = window.dt / stride, observed, steps, stride
  return Cases(stacked, *rates, history, truth, scored, frame, scene_B, domain_B, left_out, dict(faults))


def crop(scene: Scene, start: int, stop: int) -> Scene:
  """Frames start to stop of a scene."""
  names = ("position_TxAx2", "heading_TxA", "velocity_TxAx2", "valid_TxA", "lane_TxA", "signal_TxL")
  return dataclasses.replace(scene, **{name: getattr(scene, name)[start:stop] for name in names})


def sound(scene: Scene) -> tuple[Scene, Counter[str]]:
  """The scene without agents that have no number for a pose where they are there, or that leap as nothing can drive;
  how many there are of each, and one for a missing map: nobody has a path then."""
  pose_TxAx5 = np.concatenate([scene.position_TxAx2, scene.velocity_TxAx2, scene.heading_TxA[..., None]], -1)
  unknown_A = (scene.valid_TxA & ~np.isfinite(pose_TxAx5).all(-1)).any(0)
  moved_TxA = np.hypot(*np.moveaxis(np.diff(scene.position_TxAx2, axis=0), -1, 0))
  together_TxA = scene.valid_TxA[1:] & scene.valid_TxA[:-1]
  leapt_A = (together_TxA & (moved_TxA > _FASTEST * scene.metadata.dt)).any(0) & ~unknown_A
  counts = {NO_POSITION: unknown_A.sum(), LEAPT: leapt_A.sum(), NO_MAP: not len(scene.lanes)}
  faults = Counter({name: int(count) for name, count in counts.items() if count})
  gone_A = unknown_A | leapt_A
  if gone_A.any():
    scene = dataclasses.replace(
      scene,
      valid_TxA=scene.valid_TxA & ~gone_A,
      position_TxAx2=np.where(gone_A[:, None], np.float32(0), scene.position_TxAx2),
      velocity_TxAx2=np.where(gone_A[:, None], np.float32(0), scene.velocity_TxAx2),
      heading_TxA=np.where(gone_A, np.float32(0), scene.heading_TxA),
    )
  return scene, faults


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
