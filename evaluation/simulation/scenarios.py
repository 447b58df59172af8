"""Scenarios for a simulator: a group of neighbours in a held-out scene, seen for a while, and what the log has next.

The ego is the first of its group. All arrays are in the frame of the group's window, m; the road too. The logged moves
are those of the tokeniser (data/motion.py), so that an agent that is forced to make them drives as logged to within a
decimetre or two, and what they lead to is compared with what the model's own moves lead to.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np

from data import motion
from data.errors import BadInput
from data.schema import AgentType, Scene
from data.windows import Window, WindowConfig
from evaluation.forecasting.cases import crop, piece, sound
from evaluation.metrics import road

TOO_SHORT = "a scene too short"
_MOTOR = (AgentType.CAR, AgentType.TRUCK, AgentType.BUS, AgentType.SERVICE)
_AROUND = 30.0  # m beyond the agents' courses at which a lane still matters
_SEGMENTS = 4096  # of lanes in that area, at most


@dataclasses.dataclass(frozen=True)
class Scenarios:
  """C groups of up to A agents.

  Attributes:
    windows: stacked window arrays [C, ...]; moves from `observed` on are not in them, signals are.
    dt: seconds per move. observed: moves before now. steps: N, moves from now on.
    ego_C: slot. known_CxA: the log has all of an agent's moves, before and from now on.
    moves_NxCxA: int32, logged from now on; zero where not known.
    state_CxAxTxS: float32 [.., observed + 1 + steps, S], what the logged moves lead to; now is at `observed`.
    ground: road.Road of stacked arrays [C, S].
    scene_C: number of the scene. domain_C: its name.
    faults: agents that no piece holds, by what is wrong with their log (evaluation/forecasting/cases.py), and scenes
      that no piece fits into.
  """

  windows: Window
  dt: float
  observed: int
  steps: int
  ego_C: np.ndarray
  known_CxA: np.ndarray
  moves_NxCxA: np.ndarray
  state_CxAxTxS: np.ndarray
  ground: road.Road
  scene_C: np.ndarray
  domain_C: np.ndarray
  faults: dict[str, int]

  def __len__(self) -> int:
    return len(self.ego_C)


def make_scenarios(
  scenes: Iterator[Scene],
  window: WindowConfig,
  observed: int,
  steps: int,
  pieces: int,
  groups: int,
  seed: int,
) -> Scenarios:
  """`groups` of each of `pieces` of every scene, spread over its length; egos are motor vehicles with company.

  Raises BadInput when there is none.
  """
  shape = dataclasses.replace(window, steps=observed + steps, phases=1, least_moves=0)
  rng, rows, faults = np.random.default_rng(seed), [], Counter[str]()
  for number, scene in enumerate(scenes):
    stride = round(window.dt / scene.metadata.dt)
    length = (observed + steps) * stride
    starts = np.arange(0, len(scene.valid_TxA) - length, length)
    if not len(starts):
      faults[TOO_SHORT] += 1
      continue
    for start in starts[np.unique(np.linspace(0, len(starts) - 1, pieces).round().astype(int))]:
      whole, broken = sound(crop(scene, start, start + length + 1))
      faults += broken
      found = list(_groups(whole, shape, observed, stride)) if whole.valid_TxA.any() else []
      chosen = rng.permutation(len(found))[:groups]
      rows += [found[i] | {"scene": number, "domain_name": scene.metadata.domain} for i in np.sort(chosen)]
  if not rows:
    what = f"no vehicle with others near it is logged for {(observed + steps) * window.dt} s"
    told = "".join(f", {name}: {count}" for name, count in faults.items())
    raise BadInput(what + told, "the split", "shorten the horizon")
  grounds = [row.pop("ground") for row in rows]
  most = max(int(ground.mask_S.sum()) for ground in grounds)
  ground = road.Road(*(np.stack([part[:most] for part in parts]) for parts in zip(*grounds, strict=True)))
  stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  names = ("ego", "known", "moves", "state", "scene", "domain_name")
  ego, known, moves, state, scene_C, domain = (stacked.pop(name) for name in names)
  moves = moves.swapaxes(0, 1).astype(np.int32)
  return Scenarios(
    stacked, window.dt, observed, steps, ego, known, moves, state, ground, scene_C, domain, dict(faults)
  )


def _groups(scene: Scene, shape: WindowConfig, observed: int, stride: int) -> Iterator[dict]:
  """The groups of a piece that can be scenarios, each alone in its window."""
  frames = np.arange(0, len(scene.valid_TxA), stride)
  whole_A = np.asarray(scene.valid_TxA[frames].all(0))
  logged = motion.encode(
    scene.position_TxAx2[frames],
    scene.heading_TxA[frames],
    scene.velocity_TxAx2[frames],
    scene.valid_TxA[frames],
    shape.dt,
  )
  whole_A &= logged.mask_TxA[:-1].all(0)
  for row in piece(scene, shape, observed, stride)[0]:
    row.pop("history"), row.pop("truth"), row.pop("scored")
    frame_Ax3, column_A = row.pop("frame"), row["agent_A"]
    for group in np.unique(row["group_A"][row["group_A"] > 0]):
      member_A = row["group_A"] == group
      known_A, ego = member_A & whole_A[column_A], int(member_A.argmax())
      if not known_A[ego] or known_A.sum() < 2 or row["type_A"][ego] not in _MOTOR:
        continue
      state = in_frame(logged.state_TxAxS[:, column_A], frame_Ax3[ego])
      yield _alone(row, member_A) | {
        "ego": ego,
        "known": known_A,
        "moves": np.where(known_A, logged.tokens_TxA[observed:-1, column_A], 0),
        "state": np.where(known_A[:, None, None], state.swapaxes(0, 1), 0).astype(np.float32),
        "ground": _ground(scene, state[:, known_A, :2], frame_Ax3[ego]),
      }


def _alone(row: Window, member_A: np.ndarray) -> Window:
  """The window with that group only."""
  alone = dict(row)
  alone["group_A"] = np.where(member_A, row["group_A"], 0).astype(row["group_A"].dtype)
  alone["valid_TxA"], alone["mask_TxA"] = row["valid_TxA"] & member_A, row["mask_TxA"] & member_A
  return alone


def in_frame(state: np.ndarray, frame_3: np.ndarray) -> np.ndarray:
  """States [..., S] of the scene in a frame x, y, heading of it."""
  state = state.astype(np.float64)
  place = turned(state[..., :2] - frame_3[:2], -frame_3[2])
  heading = motion.wrap(state[..., motion.HEADING, None] - frame_3[2])
  return np.concatenate([place, heading, state[..., 3:]], -1)


def _ground(scene: Scene, driven_TxAx2: np.ndarray, frame_3: np.ndarray) -> road.Road:
  """The road around what was driven, in the frame."""
  area = (turned(driven_TxAx2, frame_3[2]) + frame_3[:2]).reshape(-1, 2)
  ground = road.make_road(scene.lanes, _SEGMENTS, area.min(0) - _AROUND, area.max(0) + _AROUND)
  start = turned(ground.start_Sx2 - frame_3[:2], -frame_3[2])
  step = turned(ground.step_Sx2.astype(np.float64), -frame_3[2])
  return ground._replace(start_Sx2=start.astype(np.float32), step_Sx2=step.astype(np.float32))


def turned(xy: np.ndarray, angle: float) -> np.ndarray:
  cos, sin = np.cos(angle), np.sin(angle)
  return np.stack([cos * xy[..., 0] - sin * xy[..., 1], sin * xy[..., 0] + cos * xy[..., 1]], -1)
