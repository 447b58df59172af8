"""Scene: one normalised piece of driving log, the same for every source.

Frame: right-handed, x east or forward, y north or left, origin anywhere near the scene (coordinates
must stay below 100 km so that float32 keeps centimetres). Positions in metres (agent centre), angles
in radians counter-clockwise from +x, speeds in m/s, time in seconds. `T` time steps at the fixed rate
`1 / metadata.dt`, `A` agents (agent 0 is the ego), `L` lanes.
"""

import dataclasses
import enum
import functools

import numpy as np

from data.errors import BadInput

SCHEMA_VERSION = 1


class AgentType(enum.IntEnum):
  CAR = 0
  TRUCK = 1
  BUS = 2
  MOTORCYCLE = 3
  BICYCLE = 4
  PEDESTRIAN = 5
  SERVICE = 6  # apron tugs, loaders, sweepers
  OTHER = 7


class LaneType(enum.IntEnum):
  ROAD = 0
  JUNCTION = 1  # a turning path inside a junction
  BIKE = 2
  WALK = 3  # sidewalks and crossings
  RAMP = 4
  OTHER = 5


# Lanes that a class of agents does not enter; a class that is not named goes anywhere.
FOREIGN: dict[AgentType, tuple[LaneType, ...]] = dict.fromkeys(
  (AgentType.CAR, AgentType.TRUCK, AgentType.BUS, AgentType.MOTORCYCLE, AgentType.SERVICE),
  (LaneType.BIKE, LaneType.WALK),
) | {AgentType.BICYCLE: (LaneType.WALK,)}


class Signal(enum.IntEnum):
  """Traffic light at the end of a lane."""

  NONE = 0
  GREEN = 1  # with priority
  GREEN_YIELD = 2
  YELLOW = 3
  RED = 4


@dataclasses.dataclass(frozen=True)
class Metadata:
  """What sampling, splitting and auditing need to know. Empty string: unknown.

  Attributes:
    scene_id: unique within a dataset; never shown to a model.
    source: "sumo", "commonroad", "argoverse2".
    domain: kind of place ("urban_grid", "highway", ...); losses are reported by it.
    geography: city or synthetic region.
    route: road, corridor or route driven; scenes that share it show the same asphalt.
    map_id, map_version, map_date: the map used; `map_date` ISO 8601.
    recording: the continuous recording (or simulation) the scene is cut from.
    start_s: seconds from the start of the recording to the first frame; negative: unknown.
    date: ISO 8601 day of the recording.
    sensor_rig, weather ("clear", "rain", "snow", "fog"), light ("day", "dusk", "night"),
    speed_regime ("low" < 8 m/s, "medium" < 18 m/s, "high"), operation ("road", "airport", ...).
    traffic_side: "right" or "left".
    rare_events: tags such as "hard_brake", "red_light_stop", "near_miss".
    label_source: "simulator", "sensor", "human" or "teacher".
    label_horizon_s: how far beyond each frame the labeller could see, seconds (0: causal).
    seed: simulation seed, -1 for real logs.
    dt: seconds between frames.
    friction: road friction coefficient in (0, 1].
    driver_noise: the simulator's driver imperfection in [0, 1]; -1 for real logs.
    density: vehicles per lane-kilometre aimed at; -1 when unknown.
  """

  scene_id: str
  source: str
  domain: str
  geography: str
  route: str
  map_id: str
  recording: str
  start_s: float
  dt: float
  date: str = ""
  map_version: str = ""
  map_date: str = ""
  sensor_rig: str = "tracks"
  weather: str = ""
  light: str = ""
  speed_regime: str = ""
  operation: str = "road"
  traffic_side: str = "right"
  rare_events: tuple[str, ...] = ()
  label_source: str = "sensor"
  label_horizon_s: float = 0.0
  seed: int = -1
  friction: float = 1.0
  driver_noise: float = -1.0
  density: float = -1.0


@dataclasses.dataclass(frozen=True)
class Lanes:
  """Lane centrelines as a graph. Ragged arrays are (values, splits): row i is values[s[i]:s[i+1]].

  Attributes:
    xy_Nx2: float32 m, all centreline points, in driving direction.
    splits: int32 [L+1], strictly increasing by at least 2.
    width_L: float32 m.
    speed_limit_L: float32 m/s.
    type_L: uint8 LaneType.
    road_L: int32, lanes of one carriageway share a road; routes are sequences of roads.
    successor_Ex2: int32 (from, to) lane indices.
    left_L, right_L: int32 neighbouring lane of the same direction, -1 for none.
  """

  xy_Nx2: np.ndarray
  splits: np.ndarray
  width_L: np.ndarray
  speed_limit_L: np.ndarray
  type_L: np.ndarray
  road_L: np.ndarray
  successor_Ex2: np.ndarray
  left_L: np.ndarray
  right_L: np.ndarray

  def __len__(self) -> int:
    return len(self.splits) - 1

  @functools.cached_property
  def successors(self) -> list[list[int]]:
    """Successors of every lane."""
    found: list[list[int]] = [[] for _ in range(len(self))]
    for start, end in self.successor_Ex2.tolist():
      found[start].append(end)
    return found

  @functools.cached_property
  def closed(self) -> dict[int, list[bool]]:
    """By class of agent: the lanes that are FOREIGN to it, and the turning paths that lead to such lanes only."""
    (start_E, end_E), count, found = self.successor_Ex2.T, len(self), {}
    turning_L = (self.type_L == LaneType.JUNCTION) & (np.bincount(start_E, minlength=count) > 0)
    for kind in AgentType:
      closed_L = np.isin(self.type_L, FOREIGN.get(kind, ()))
      while True:
        onward_L = np.bincount(start_E[~closed_L[end_E]], minlength=count)
        more_L = turning_L & ~closed_L & (onward_L == 0)
        if not more_L.any():
          break
        closed_L |= more_L
      found[int(kind)] = closed_L.tolist()
    return found

  @functools.cached_property
  def roads(self) -> list[int]:
    """road_L as a list: walking the graph asks for single entries."""
    return self.road_L.tolist()

  @functools.cached_property
  def lengths(self) -> list[float]:
    """m, arc length of every centreline."""
    steps = np.hypot(*np.diff(self.xy_Nx2.astype(np.float64), axis=0).T)
    arc = np.concatenate([[0.0], np.cumsum(steps)])
    return (arc[self.splits[1:] - 1] - arc[self.splits[:-1]]).tolist()

  def points(self, lane: int) -> np.ndarray:
    return self.xy_Nx2[self.splits[lane] : self.splits[lane + 1]]


@dataclasses.dataclass(frozen=True)
class Scene:
  """Attributes (values at invalid (t, a) are zero and mean nothing):

  position_TxAx2: float32 m, centre of the agent's box.
  heading_TxA: float32 rad.
  velocity_TxAx2: float32 m/s.
  valid_TxA: bool.
  lane_TxA: int32 index of the occupied lane, -1 unknown or off the lanes.
  size_Ax2: float32 m (length, width).
  type_A: uint8 AgentType.
  track_A: int64 the source's identity of the agent.
  route, route_splits: int32 values and [A+1]: planned roads in driving order, empty when unknown.
  signal_TxL: uint8 Signal at the end of each lane.
  """

  metadata: Metadata
  lanes: Lanes
  position_TxAx2: np.ndarray
  heading_TxA: np.ndarray
  velocity_TxAx2: np.ndarray
  valid_TxA: np.ndarray
  lane_TxA: np.ndarray
  size_Ax2: np.ndarray
  type_A: np.ndarray
  track_A: np.ndarray
  route: np.ndarray
  route_splits: np.ndarray
  signal_TxL: np.ndarray


_DTYPES = {
  "position_TxAx2": np.float32, "heading_TxA": np.float32, "velocity_TxAx2": np.float32,
  "valid_TxA": np.bool_, "lane_TxA": np.int32, "size_Ax2": np.float32, "type_A": np.uint8,
  "track_A": np.int64, "route": np.int32, "route_splits": np.int32, "signal_TxL": np.uint8,
}  # fmt: skip
_LANE_DTYPES = {
  "xy_Nx2": np.float32, "splits": np.int32, "width_L": np.float32, "speed_limit_L": np.float32,
  "type_L": np.uint8, "road_L": np.int32, "successor_Ex2": np.int32, "left_L": np.int32,
  "right_L": np.int32,
}  # fmt: skip


def arrays(scene: Scene) -> dict[str, np.ndarray]:
  """All arrays of a scene by name, lanes under "lanes/"; `from_arrays` is the inverse."""
  own = {name: getattr(scene, name) for name in _DTYPES}
  return own | {f"lanes/{name}": getattr(scene.lanes, name) for name in _LANE_DTYPES}


def from_arrays(metadata: Metadata, values: dict[str, np.ndarray]) -> Scene:
  lanes = Lanes(**{name: values[f"lanes/{name}"] for name in _LANE_DTYPES})
  return Scene(metadata=metadata, lanes=lanes, **{name: values[name] for name in _DTYPES})


def array_dtypes() -> dict[str, type]:
  """Name to dtype of everything in `arrays`."""
  return _DTYPES | {f"lanes/{name}": dtype for name, dtype in _LANE_DTYPES.items()}


def speed_regime(speeds: np.ndarray) -> str:
  """Metadata.speed_regime of valid speeds [n] m/s, by their 90th percentile."""
  if not len(speeds):
    return ""
  fast = float(np.percentile(speeds, 90))
  return "low" if fast < 8 else "medium" if fast < 18 else "high"


def validate(scene: Scene, where: object) -> Scene:
  """Returns `scene`, or raises BadInput that names `where`, the field and the remedy.

  Checks dtypes, shapes that must agree, finite values where valid, plausible sizes, that some agent is
  valid and that some agent moves (more than 1 m over the scene).
  """
  steps, agents = scene.valid_TxA.shape
  lane_count = len(scene.lanes)
  shapes = {
    "position_TxAx2": (steps, agents, 2), "heading_TxA": (steps, agents),
    "velocity_TxAx2": (steps, agents, 2), "valid_TxA": (steps, agents), "lane_TxA": (steps, agents),
    "size_Ax2": (agents, 2), "type_A": (agents,), "track_A": (agents,),
    "route": scene.route.shape, "route_splits": (agents + 1,), "signal_TxL": (steps, lane_count),
    "lanes/xy_Nx2": (int(scene.lanes.splits[-1]), 2), "lanes/splits": (lane_count + 1,),
    "lanes/width_L": (lane_count,), "lanes/speed_limit_L": (lane_count,), "lanes/type_L": (lane_count,),
    "lanes/road_L": (lane_count,), "lanes/successor_Ex2": (len(scene.lanes.successor_Ex2), 2),
    "lanes/left_L": (lane_count,), "lanes/right_L": (lane_count,),
  }  # fmt: skip
  fix = "repair the log or leave the scene out"
  dtypes = array_dtypes()
  for name, value in arrays(scene).items():
    if value.dtype != dtypes[name]:
      raise BadInput(f"{name} is {value.dtype}, not {np.dtype(dtypes[name])}", where, fix)
    if value.shape != shapes[name]:
      raise BadInput(f"{name} has shape {value.shape}, not {shapes[name]}", where, fix)
    if value.dtype == np.float32 and not np.isfinite(value).all():
      raise BadInput(f"{name} holds NaN or infinity", where, fix)
  if not scene.valid_TxA.any():
    raise BadInput("no agent is ever valid", where, fix)
  if np.abs(scene.position_TxAx2).max() > 1e5:
    raise BadInput("position_TxAx2 exceeds 100 km", where, "subtract a local origin first")
  if not (scene.size_Ax2 > 0).all():
    raise BadInput("size_Ax2 holds a non-positive length or width", where, fix)
  if lane_count and (np.diff(scene.lanes.splits) < 2).any():
    raise BadInput("lanes/splits leaves a lane with fewer than 2 points", where, fix)
  if scene.lane_TxA.max() >= lane_count or scene.lane_TxA.min() < -1:
    raise BadInput(f"lane_TxA points outside the {lane_count} lanes", where, fix)
  if not (scene.metadata.dt > 0):
    raise BadInput(f"metadata.dt is {scene.metadata.dt}", where, "give seconds between frames")
  if not moving_agents(scene).any():
    raise BadInput("no agent moves more than 1 m", where, "leave the scene out")
  return scene


def moving_agents(scene: Scene) -> np.ndarray:
  """bool [A]: agents whose valid positions span more than 1 m in x or y."""
  position = np.where(scene.valid_TxA[..., None], scene.position_TxAx2, np.nan)
  seen = np.asarray(scene.valid_TxA.any(0))
  span = np.zeros(len(seen), np.float32)
  if seen.any():
    span[seen] = (np.nanmax(position[:, seen], 0) - np.nanmin(position[:, seen], 0)).max(-1)
  return span > 1.0
