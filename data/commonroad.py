"""CommonRoad scenarios (XML 2018b and 2020a) to scenes.

M. Althoff, M. Koschi, S. Manzinger, "CommonRoad: Composable benchmarks for motion planning on roads", IEEE IV
2017; format: https://commonroad.in.tum.de. The reader refuses a file rather than guess and bounds sizes
before it allocates. Planning problems are not read.

The ego is the dynamic obstacle with the longest track. Static obstacles stay valid throughout; a dynamic
obstacle without a trajectory is valid in its initial frame only. Metadata follows the benchmark id
COUNTRY_LOCATION-MAP_CONFIG_TYPE-N: all scenarios of one location count as one recording, because windows cut
from it overlap. Recorded tracks were smoothed offline, hence a `label_horizon_s` above zero.
"""

import dataclasses
import math
import os
import pathlib
import re

import numpy as np

from data import lanes as lane_geometry
from data.commonroad_map import read_lanes, read_points, read_signals
from data.errors import BadInput
from data.hardened_xml import FIX, Element, child, identity, number, parse, word
from data.schema import AgentType, Metadata, Scene, speed_regime, validate

SMOOTHING_S = 1.0  # tracks of recorded locations (NGSIM, highD, inD) are filtered with about this much future
MATCH_DISTANCE = 4.0  # m from a centreline at which a vehicle still counts as on the lane
_MAX_CELLS = 20_000_000  # time steps x (agents + lanes)
_FAR = 1e4  # m; scenes further from zero get a local origin

_BENCHMARK = re.compile(r"(?:C-)?([A-Z]{3})_([A-Za-z0-9]+)-(\d+)_\d+_[A-Z]-\d+(?:-\d+)*")
_NO_TRACKS = re.compile(r"_[SP]-\d+$")
_LEFT_HAND = {"AUS", "CYP", "GBR", "HKG", "IND", "IRL", "JPN", "MLT", "MYS", "NZL", "SGP", "THA", "ZAF"}
_AGENT_TYPES = {
  "car": AgentType.CAR, "parkedVehicle": AgentType.CAR, "taxi": AgentType.CAR, "truck": AgentType.TRUCK,
  "priorityVehicle": AgentType.SERVICE, "bus": AgentType.BUS, "motorcycle": AgentType.MOTORCYCLE,
  "bicycle": AgentType.BICYCLE, "pedestrian": AgentType.PEDESTRIAN,
}  # fmt: skip
_WEATHER = {"sunny": "clear", "cloudy": "clear", "fog": "fog", "snow": "snow", "hail": "snow"}


@dataclasses.dataclass(frozen=True)
class _Track:
  """step [n] int64; position [n, 2] m, heading [n] rad, speed [n] m/s float64; size (length, width) m."""

  identity: int
  kind: AgentType
  size: tuple[float, float]
  static: bool
  step: np.ndarray
  position: np.ndarray
  heading: np.ndarray
  speed: np.ndarray


def find(directory: os.PathLike | str) -> list[pathlib.Path]:
  """All scenario files below a directory, sorted; none raises BadInput.

  Set-based and probabilistic predictions (type S or P in the benchmark id, which names the file) hold no
  tracks and are left out.
  """
  paths = [p for p in sorted(pathlib.Path(directory).rglob("*.xml")) if not _NO_TRACKS.search(p.stem)]
  if not paths:
    raise BadInput("holds no CommonRoad *.xml file", directory, "give the directory of the scenarios")
  return paths


def read(path: os.PathLike | str) -> Scene:
  """One scenario file to one scene at the file's own rate; BadInput names file, element and remedy."""
  root = parse(path, "commonRoad")
  version, benchmark = root.get("commonRoadVersion", ""), root.get("benchmarkID", "")
  if version not in ("2018b", "2020a"):
    raise BadInput(f"commonRoadVersion is {version!r}", path, "convert the scenario to 2018b or 2020a")
  name = _BENCHMARK.fullmatch(benchmark)
  if name is None:
    raise BadInput(f"benchmarkID {benchmark[:80]!r} is not COUNTRY_LOCATION-MAP_CONFIG_TYPE-N", path, FIX)
  dt = number(root.get("timeStepSize"), f"{path}: commonRoad timeStepSize")
  if not 0 < dt <= 10:
    raise BadInput(f"timeStepSize is {dt} s", path, FIX)
  tracks = _tracks(root, dt, path)
  steps = 1 + max(int(track.step[-1]) for track in tracks)
  if steps * (len(tracks) + len(root)) > _MAX_CELLS:
    raise BadInput(
      f"spans {steps} time steps of {len(tracks)} obstacles", path, "cut the scenario into pieces"
    )

  everything = np.concatenate([track.position for track in tracks])
  origin = np.round(everything.mean(0)) if np.abs(everything).max() > _FAR else np.zeros(2)
  lanes = read_lanes(root, origin, path)
  agents = len(tracks)
  position, heading = np.zeros((steps, agents, 2), np.float32), np.zeros((steps, agents), np.float32)
  velocity, valid = np.zeros((steps, agents, 2), np.float32), np.zeros((steps, agents), bool)
  for a, track in enumerate(tracks):
    rows: slice | np.ndarray = slice(None) if track.static else track.step
    position[rows, a] = track.position - origin
    heading[rows, a] = track.heading
    velocity[rows, a] = track.speed[:, None] * np.stack([np.cos(track.heading), np.sin(track.heading)], -1)
    valid[rows, a] = True
  lane = np.full((steps, agents), -1, np.int32)
  lane[valid] = lane_geometry.match_lanes(position[valid], heading[valid], lanes, MATCH_DISTANCE)

  country, location, map_number = name.groups()
  place = f"{country}_{location}"
  weather = word(root, "location/environment/weather", "")
  light = word(root, "location/environment/timeOfDay", "")
  metadata = Metadata(
    scene_id=benchmark, source="commonroad", domain=location.lower(), geography=country, route=place,
    map_id=f"{place}-{map_number}", recording=place, start_s=-1.0, dt=dt, map_version=version,
    weather="rain" if weather.endswith("rain") else _WEATHER.get(weather, ""),
    light=light if light in ("day", "night") else "",
    speed_regime=speed_regime(np.hypot(velocity[..., 0], velocity[..., 1])[valid]),
    traffic_side="left" if country in _LEFT_HAND else "right", label_horizon_s=SMOOTHING_S,
  )  # fmt: skip
  scene = Scene(
    metadata, lanes, position, heading, velocity, valid, lane,
    size_Ax2=np.array([track.size for track in tracks], np.float32),
    type_A=np.array([track.kind for track in tracks], np.uint8),
    track_A=np.array([track.identity for track in tracks], np.int64),
    route=np.zeros(0, np.int32), route_splits=np.zeros(agents + 1, np.int32),
    signal_TxL=read_signals(root, steps, path),
  )  # fmt: skip
  return validate(scene, path)


def _tracks(root: Element, dt: float, path: object) -> list[_Track]:
  """Obstacles in file order, except that the one with the longest track comes first."""
  tracks = []
  for element in root:
    if element.tag in ("obstacle", "dynamicObstacle", "staticObstacle"):
      static = element.tag == "staticObstacle" or word(element, "role", "") == "static"
      tracks.append(_track(element, static, dt, f"{path}: {element.tag} {element.get('id')}"))
  dynamic = [i for i, track in enumerate(tracks) if not track.static]
  if not dynamic:
    raise BadInput("holds no dynamic obstacle", path, FIX)
  ego = max(dynamic, key=lambda i: len(tracks[i].step))
  return [tracks[ego], *tracks[:ego], *tracks[ego + 1 :]]


def _track(element: Element, static: bool, dt: float, where: str) -> _Track:
  states = [child(element, "initialState", where), *([] if static else element.findall("trajectory/state"))]
  rows = np.array([_state(state, static, f"{where}, state {i}") for i, state in enumerate(states)])
  step, position, heading, speed = rows[:, 0].astype(np.int64), rows[:, 1:3], rows[:, 3], rows[:, 4]
  if (step != rows[:, 0]).any() or step[0] < 0 or (np.diff(step) <= 0).any():
    raise BadInput("time steps are not whole numbers that increase from 0", where, FIX)
  unknown = np.isnan(speed)  # the format makes <velocity> optional
  if unknown.any():
    if len(rows) < 2:
      raise BadInput("its only state has no <velocity>", where, FIX)
    speed = np.where(unknown, np.gradient(lane_geometry.arc_lengths(position), step * dt), speed)
  kind = _AGENT_TYPES.get(word(element, "type", ""), AgentType.OTHER)
  size = _size(child(element, "shape", where), where)
  return _Track(identity(element, "id", where), kind, size, static, step, position, heading, speed)


def _state(state: Element, static: bool, where: str) -> tuple[float, float, float, float, float]:
  """(time step, x, y, heading, speed); NaN for an absent speed."""
  point = child(state, "position/point", where)
  time = 0.0 if static else _value(state, "time", where)
  speed = 0.0 if static else math.nan if state.find("velocity") is None else _value(state, "velocity", where)
  x, y = (number(point.findtext(axis), f"{where}, position {axis}") for axis in "xy")
  return time, x, y, _value(state, "orientation", where), speed


def _value(state: Element, tag: str, where: str) -> float:
  """An <exact> value or the middle of an interval."""
  element = child(state, tag, where)
  ends = ("exact", "exact") if element.find("exact") is not None else ("intervalStart", "intervalEnd")
  return sum(number(element.findtext(end), f"{where}, {tag}") for end in ends) / 2


def _size(shape: Element, where: str) -> tuple[float, float]:
  """Length and width of the first shape, m."""
  radius, polygon = shape.findtext("circle/radius"), shape.find("polygon")
  if radius is not None:
    diameter = 2 * number(radius, f"{where}, radius")
    return diameter, diameter
  if polygon is not None:
    length, width = np.ptp(read_points(polygon, f"{where}, polygon"), axis=0)
    return float(length), float(width)
  box = child(shape, "rectangle", where)
  return number(box.findtext("length"), f"{where}, length"), number(box.findtext("width"), f"{where}, width")
