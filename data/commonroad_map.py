"""The road of a CommonRoad scenario: lanelets to lanes, traffic signs to limits, traffic lights to signals.

A lanelet's centreline is the mean of its paired bounds, resampled to 2 m. Neighbours count only when they run
in the same direction; lanelets side by side form one road. Lanes inside intersections are junction lanes.
"""

import math
from collections.abc import Sequence

import numpy as np

from data import lanes as lane_geometry
from data.errors import BadInput
from data.hardened_xml import FIX, Element, child, identity, number, word
from data.schema import Lanes, LaneType, Signal

HIGHWAY_LIMIT = 29.0  # m/s (65 mph) where neither sign nor lanelet type tells
_TYPE_LIMITS = {"urban": 13.9, "country": 27.8, "bicycleLane": 8.0, "sidewalk": 2.0, "crosswalk": 2.0}
_SPEED_SIGNS = {"274", "274.1", "R2-1", "r301"}  # the format gives their values in m/s
_LANE_TYPES = {
  "intersection": LaneType.JUNCTION, "accessRamp": LaneType.RAMP, "exitRamp": LaneType.RAMP,
  "bicycleLane": LaneType.BIKE, "sidewalk": LaneType.WALK, "crosswalk": LaneType.WALK,
  "driveWay": LaneType.OTHER, "border": LaneType.OTHER, "parking": LaneType.OTHER,
}  # fmt: skip
_COLOURS = {
  "green": Signal.GREEN, "yellow": Signal.YELLOW, "red": Signal.RED, "redYellow": Signal.RED,
  "inactive": Signal.NONE,
}  # fmt: skip
_SPACING = 2.0  # m between centreline points
_MAX_POINTS = 100_000  # of one centreline: 200 km


def read_lanes(root: Element, origin: np.ndarray, path: object) -> Lanes:
  """All lanelets in file order, shifted by -origin [2] m."""
  lanelets = root.findall("lanelet")
  index = {identity(lanelet, "id", path): i for i, lanelet in enumerate(lanelets)}
  if not lanelets or len(index) < len(lanelets):
    raise BadInput("holds no lanelet, or two with the same id", path, FIX)
  limits, inside = _sign_limits(root, path), _inside_intersections(root)
  centres, width, limit, kind, successor = [], [], [], [], []
  neighbours = {side: np.full(len(lanelets), -1, np.int32) for side in ("adjacentLeft", "adjacentRight")}
  for i, lanelet in enumerate(lanelets):
    where = f"{path}: lanelet {lanelet.get('id')}"
    middle, across = _centreline(lanelet, where)
    centres.append((middle - origin).astype(np.float32))
    width.append(across)
    words = [(element.text or "").strip() for element in lanelet.findall("laneletType")]
    signed = [limits[r.get("ref")] for r in lanelet.findall("trafficSignRef") if r.get("ref") in limits]
    typical = [_TYPE_LIMITS[w] for w in words if w in _TYPE_LIMITS]
    limit.append(min(signed or typical or [HIGHWAY_LIMIT]))
    known = [_LANE_TYPES[w] for w in words if w in _LANE_TYPES]
    known += [LaneType.JUNCTION] if lanelet.get("id") in inside else []
    kind.append(known[0] if known else LaneType.ROAD)
    # References may leave the piece of map that the scenario shows.
    ahead = [index.get(identity(r, "ref", where), -1) for r in lanelet.findall("successor")]
    successor += [(i, j) for j in ahead if j >= 0]
    for side, neighbour in neighbours.items():
      beside = lanelet.find(side)
      if beside is not None and beside.get("drivingDir") == "same":
        neighbour[i] = index.get(identity(beside, "ref", where), -1)
  return Lanes(
    xy_Nx2=np.concatenate(centres), splits=np.cumsum([0, *map(len, centres)]).astype(np.int32),
    width_L=np.array(width, np.float32), speed_limit_L=np.array(limit, np.float32),
    type_L=np.array(kind, np.uint8), road_L=_roads(list(neighbours.values())),
    successor_Ex2=np.array(successor, np.int32).reshape(-1, 2),
    left_L=neighbours["adjacentLeft"], right_L=neighbours["adjacentRight"],
  )  # fmt: skip


def read_signals(root: Element, steps: int, path: object) -> np.ndarray:
  """uint8 Signal [T, L]: the first light that each lanelet names, by its cycle of time steps."""
  references = [lanelet.find("trafficLightRef") for lanelet in root.findall("lanelet")]
  named = [None if reference is None else reference.get("ref") for reference in references]
  signal = np.zeros((steps, len(named)), np.uint8)
  for light in root.findall("trafficLight"):
    where = f"{path}: trafficLight {light.get('id')}"
    elements = light.findall("cycle/cycleElement")
    if not elements or word(light, "active", "true") == "false":
      continue
    durations = np.array([number(e.findtext("duration"), f"{where}, duration") for e in elements])
    colours = [word(e, "color", "") for e in elements]
    if unknown := [colour for colour in colours if colour not in _COLOURS]:
      raise BadInput(f"color {unknown[0]!r} is none of {sorted(_COLOURS)}", where, FIX)
    if (durations < 1).any():
      raise BadInput("a cycle element lasts less than one time step", where, FIX)
    phase = np.arange(steps) - number(word(light, "cycle/timeOffset", "0"), f"{where}, timeOffset")
    place = np.searchsorted(durations.cumsum(), phase % durations.sum(), side="right")
    shown = np.array([_COLOURS[colour] for colour in colours], np.uint8)[place]
    signal[:, [i for i, name in enumerate(named) if name == light.get("id")]] = shown[:, None]
  return signal


def read_points(parent: Element, where: str) -> np.ndarray:
  """float64 [n >= 2, 2] m."""
  points = [
    [number(p.findtext(axis), f"{where}, point {axis}") for axis in "xy"] for p in parent.findall("point")
  ]
  if len(points) < 2:
    raise BadInput(f"has {len(points)} points, at least 2 needed", where, FIX)
  return np.array(points)


def _centreline(lanelet: Element, where: str) -> tuple[np.ndarray, float]:
  """float64 [n, 2] m, and the median width in m."""
  left, right = (
    read_points(child(lanelet, side, where), f"{where}, {side}") for side in ("leftBound", "rightBound")
  )
  if len(left) != len(right):
    raise BadInput(f"bounds have {len(left)} and {len(right)} points", where, FIX)
  middle = (left + right) / 2
  length = float(lane_geometry.arc_lengths(middle)[-1])
  count = math.ceil(length / _SPACING) + 1
  if not 2 <= count <= _MAX_POINTS:
    raise BadInput(f"is {length:.3g} m long", where, FIX)
  width = float(np.median(np.hypot(*(left - right).T)))
  return lane_geometry.at(middle, np.linspace(0.0, length, count)), max(width, 0.1)


def _sign_limits(root: Element, path: object) -> dict[str | None, float]:
  """Traffic sign id to speed limit in m/s."""
  limits = {}
  for sign in root.findall("trafficSign"):
    for part in sign.findall("trafficSignElement"):
      if word(part, "trafficSignID", "") in _SPEED_SIGNS and part.find("additionalValue") is not None:
        where = f"{path}: trafficSign {sign.get('id')}, additionalValue"
        limits[sign.get("id")] = number(part.findtext("additionalValue"), where)
        if not limits[sign.get("id")] > 0:
          raise BadInput(f"speed limit is {limits[sign.get('id')]} m/s", where, FIX)
  return limits


def _inside_intersections(root: Element) -> set[str | None]:
  """Ids of the lanelets that incoming roads turn into."""
  return {
    reference.get("ref")
    for incoming in root.findall("intersection/incoming")
    for reference in incoming
    if reference.tag.startswith("successors")
  }


def _roads(neighbours: Sequence[np.ndarray]) -> np.ndarray:
  """int32 [L]: lanes side by side share the smallest of their indices."""
  road = np.arange(len(neighbours[0]), dtype=np.int32)
  while True:
    before = road.copy()
    for neighbour in neighbours:
      pairs = np.flatnonzero(neighbour >= 0)
      np.minimum.at(road, pairs, road[neighbour[pairs]])
      np.minimum.at(road, neighbour[pairs], road[pairs])
    if (road == before).all():
      return road
