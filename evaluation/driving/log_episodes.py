"""Logs as episodes of the driving score: an agent of a scene in the role of the ego, as it was driven.

Scored, they say what the human (or the simulator's) driver of a scene would get: the filter of EPDMS, the reference of
progress, and the check of the metrics themselves. All episodes of one `Sizes` have the same shapes.
"""

import dataclasses

import numpy as np

from data import lanes as lane_geometry
from data.errors import BadInput
from data.schema import FOREIGN, AgentType, Scene, Signal
from evaluation.metrics import road
from evaluation.metrics.driving_score import Episode

_AROUND = 30.0  # m beyond the ego's course at which a lane still matters
_ONWARD = 50.0  # m of route beyond what was driven


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Of every episode's arrays. frames, agents (the nearest are kept), segments of lanes, points of the route, lines."""

  frames: int
  agents: int
  segments: int
  points: int
  lines: int


def drivers(scene: Scene, least_frames: int) -> np.ndarray:
  """int [n]: motor vehicles on a lane for cars in their first frame, valid for `least_frames` frames from there on."""
  first_A = scene.valid_TxA.argmax(0)
  columns = np.arange(len(first_A))
  lane_A = scene.lane_TxA[first_A, columns]
  whole_A = np.array(
    [scene.valid_TxA[t : t + least_frames, a].sum() == least_frames for a, t in enumerate(first_A)]
  )
  motor_A = np.isin(scene.type_A, (AgentType.CAR, AgentType.TRUCK, AgentType.BUS, AgentType.SERVICE))
  road_A = (lane_A >= 0) & ~np.isin(scene.lanes.type_L[np.maximum(lane_A, 0)], FOREIGN[AgentType.CAR])
  return np.flatnonzero(whole_A & motor_A & road_A)


def episode(scene: Scene, ego: int, sizes: Sizes) -> Episode:
  """`ego` from its first valid frame to its last in a row, `sizes.frames` at most; it is its own reference.

  Raises BadInput when the ego is never valid or on no lane in its first frame, or the map exceeds `sizes`.
  """
  where = f"{scene.metadata.scene_id}, agent {ego}"
  valid_T = np.asarray(scene.valid_TxA[:, ego])
  first = int(valid_T.argmax())
  frames = int(np.append(valid_T[first:], False).argmin())
  lane = int(scene.lane_TxA[first, ego])
  if not frames or lane < 0:
    raise BadInput("it is never seen on a lane", where, "choose one of `drivers`")
  frames = min(frames, sizes.frames)
  driven = slice(first, first + frames)
  position_Tx2 = scene.position_TxAx2[driven, ego].astype(np.float64)
  moved = float(np.hypot(*np.diff(position_Tx2, axis=0).T).sum())
  roads = scene.route[scene.route_splits[ego] : scene.route_splits[ego + 1]]
  path = lane_geometry.follow(scene.lanes, lane, position_Tx2[0], roads, moved + _ONWARD, scene.type_A[ego])
  step = max(1, -(-len(path.points) // sizes.points))
  route = np.concatenate([path.points[:-1:step], path.points[-1:]])[-sizes.points :]
  signal = np.full((sizes.frames, len(scene.lanes)), Signal.NONE, np.uint8)
  signal[:frames] = scene.signal_TxL[driven]
  others = _nearest(scene, ego, driven, sizes.agents)
  low, high = position_Tx2.min(0) - _AROUND, position_Tx2.max(0) + _AROUND
  arc, _ = lane_geometry.project(path.points, position_Tx2[[0, -1]])
  return Episode(
    ego_Tx4=_states(scene, np.array([ego]), driven, sizes.frames)[:, 0],
    ego_size_2=scene.size_Ax2[ego].astype(np.float32),
    frames=np.int32(frames),
    agents_TxAx4=_states(scene, others, driven, sizes.frames),
    agents_size_Ax2=np.where((others >= 0)[:, None], scene.size_Ax2[others], 1.0).astype(np.float32),
    agents_valid_TxA=_rows(scene.valid_TxA[driven][:, others], sizes.frames) & (others >= 0),
    movable_A=others >= 0,
    road=road.make_road(scene.lanes, sizes.segments, low, high),
    lines=road.make_stop_lines(scene.lanes, path.lanes, signal, sizes.lines),
    route_Px2=np.concatenate([route, np.repeat(route[-1:], sizes.points - len(route), 0)]).astype(np.float32),
    reference_m=np.float32(arc[1] - arc[0]),
    extended_comfort=np.float32(np.nan),
  )


def _nearest(scene: Scene, ego: int, driven: slice, count: int) -> np.ndarray:
  """int [count]: columns of the agents that come nearest to the ego, -1 for none."""
  offset = scene.position_TxAx2[driven] - scene.position_TxAx2[driven, ego, None]
  away_TxA = np.where(scene.valid_TxA[driven], np.hypot(offset[..., 0], offset[..., 1]), np.inf)
  away_A = away_TxA.min(0)
  away_A[ego] = np.inf
  order = away_A.argsort(kind="stable")[:count]
  order = np.where(np.isfinite(away_A[order]), order, -1)
  return np.concatenate([order, np.full(count - len(order), -1)]).astype(np.int64)


def _states(scene: Scene, agents: np.ndarray, driven: slice, frames: int) -> np.ndarray:
  """float32 [frames, n, 4]: x, y, heading, speed along the heading."""
  heading, velocity = scene.heading_TxA[driven][:, agents], scene.velocity_TxAx2[driven][:, agents]
  speed = np.cos(heading) * velocity[..., 0] + np.sin(heading) * velocity[..., 1]
  state = np.concatenate([scene.position_TxAx2[driven][:, agents], heading[..., None], speed[..., None]], -1)
  return _rows(state.astype(np.float32), frames)


def _rows(value: np.ndarray, frames: int) -> np.ndarray:
  return np.concatenate([value, np.zeros((frames - len(value), *value.shape[1:]), value.dtype)])
