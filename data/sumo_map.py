"""A SUMO net as `data.schema.Lanes`, with the names the simulation uses for lanes, roads and lights."""

import dataclasses
import hashlib
import pathlib
import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from data.schema import Lanes, LaneType, Signal
from data.sumo_apron import STAND

_MIN_STEP = 1e-3  # m between successive points of a centreline

SIGNAL_OF_CHARACTER = {
  "G": Signal.GREEN, "g": Signal.GREEN_YIELD, "y": Signal.YELLOW, "Y": Signal.YELLOW,
  "r": Signal.RED, "R": Signal.RED, "u": Signal.RED, "s": Signal.RED, "o": Signal.NONE, "O": Signal.NONE,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Link:
  """One controlled connection: light `tl`, position `index` in its state string, lanes that show it."""

  tl: str
  index: int
  lanes: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class SumoMap:
  """Attributes:
  lanes: the map. lane_of, road_of: SUMO lane and edge names to indices.
  links: controlled connections. entries, exits: edges at the rim of the world. walks: edges with a sidewalk.
  stands: edges where apron vehicles stop.
  lane_km: kilometres of lanes that cars may use, turning paths left out. map_id: digest of the net.
  length_of: m, edges that cars may use, turning paths left out.
  """

  lanes: Lanes
  lane_of: dict[str, int]
  road_of: dict[str, int]
  links: tuple[Link, ...]
  entries: tuple[str, ...]
  exits: tuple[str, ...]
  walks: tuple[str, ...]
  stands: tuple[str, ...]
  length_of: dict[str, float]
  lane_km: float
  map_id: str


def read(path: pathlib.Path, left_hand: bool) -> SumoMap:
  """Reads a net that `netconvert` has just written (trusted: never call it on a stranger's file)."""
  content = path.read_bytes()
  # The header comment holds the date and temporary paths; the map is what follows.
  content = re.sub(rb"<!--.*?-->", b"", content, flags=re.DOTALL)
  root = ElementTree.fromstring(content)
  rim = {node.attrib["id"] for node in root.iter("junction") if node.attrib["type"] == "dead_end"}
  points: list[np.ndarray] = []
  rows: list[tuple[float, float, int, int]] = []
  lane_of: dict[str, int] = {}
  road_of: dict[str, int] = {}
  length_of: dict[str, float] = {}
  entries, exits, walks, stands, lane_km = [], [], [], [], 0.0
  for edge in root.iter("edge"):
    function = edge.get("function", "normal")
    if function == "walkingarea":  # a polygon without direction, not a lane
      continue
    road = road_of.setdefault(edge.attrib["id"], len(road_of))
    for lane in edge.iter("lane"):
      kind = _type(lane, function, edge.get("type", ""))
      lane_of[lane.attrib["id"]] = len(rows)
      points.append(_centreline(lane.attrib["shape"]))
      rows.append((float(lane.get("width", "3.2")), float(lane.attrib["speed"]), int(kind), road))
      if function == "normal" and kind in (LaneType.ROAD, LaneType.RAMP):
        lane_km += float(lane.attrib["length"]) / 1000
        length_of[edge.attrib["id"]] = float(lane.attrib["length"])
      if function == "normal" and kind == LaneType.WALK:
        walks.append(edge.attrib["id"])
    if function == "normal":
      entries += [edge.attrib["id"]] * (edge.attrib["from"] in rim)
      exits += [edge.attrib["id"]] * (edge.attrib["to"] in rim)
      stands += [edge.attrib["id"]] * (edge.get("type") == STAND)
  successors, links = _connections(root, lane_of)
  left, right = _neighbours(rows, left_hand)
  width, speed, types, roads = zip(*rows, strict=True)
  lanes = Lanes(
    xy_Nx2=np.concatenate(points).astype(np.float32),
    splits=np.cumsum([0, *map(len, points)]).astype(np.int32),
    width_L=np.array(width, np.float32),
    speed_limit_L=np.array(speed, np.float32),
    type_L=np.array(types, np.uint8),
    road_L=np.array(roads, np.int32),
    successor_Ex2=np.array(successors, np.int32).reshape(-1, 2),
    left_L=left,
    right_L=right,
  )
  digest = hashlib.sha256(content).hexdigest()[:16]
  rims = tuple(entries), tuple(exits), tuple(walks), tuple(stands)
  return SumoMap(lanes, lane_of, road_of, links, *rims, length_of, lane_km, digest)


def _type(lane: ElementTree.Element, function: str, edge_type: str) -> LaneType:
  allowed = lane.get("allow", "").split()
  if function == "crossing" or allowed == ["pedestrian"]:
    return LaneType.WALK
  if function == "internal":
    return LaneType.JUNCTION
  if allowed == ["bicycle"]:
    return LaneType.BIKE
  return LaneType.RAMP if edge_type == "ramp" else LaneType.ROAD


def _centreline(shape: str) -> np.ndarray:
  """float32 [P, 2] without repeated points; at least two."""
  xy = np.array([[float(v) for v in point.split(",")[:2]] for point in shape.split()])
  keep = np.concatenate([[True], np.hypot(*np.diff(xy, axis=0).T) > _MIN_STEP])
  xy = xy[keep]
  return xy if len(xy) > 1 else np.stack([xy[0], xy[0] + [0.01, 0.0]])


def _connections(root: ElementTree.Element, lane_of: dict[str, int]):
  """Successor pairs, and controlled links.

  A lane shows its straightest link; each turning path shows its own, so both are attributed.
  """
  successors: list[tuple[int, int]] = []
  controlled: list[tuple[str, int, int]] = []
  main: dict[int, tuple[int, int]] = {}
  straightness = {"s": 0, "l": 1, "r": 1, "L": 1, "R": 1}
  for connection in root.iter("connection"):
    get = connection.get
    start = lane_of.get(f"{get('from')}_{get('fromLane')}", -1)
    after = lane_of.get(get("via") or f"{get('to')}_{get('toLane')}", -1)
    if start >= 0 and after >= 0:
      successors.append((start, after))
    if get("tl") and after >= 0:
      number = len(controlled)
      controlled.append((connection.attrib["tl"], int(connection.attrib["linkIndex"]), after))
      rank = straightness.get(get("dir", ""), 2)
      if start >= 0 and (start not in main or rank < main[start][0]):
        main[start] = (rank, number)
  links = []
  for number, (tl, index, after) in enumerate(controlled):
    showing = [lane for lane, (_, chosen) in main.items() if chosen == number]
    links.append(Link(tl, index, (after, *showing)))
  return successors, tuple(links)


def _neighbours(rows, left_hand: bool) -> tuple[np.ndarray, np.ndarray]:
  """Lanes of one road are numbered from the outer side; only lanes of like use are neighbours."""
  inner, outer = np.full(len(rows), -1, np.int32), np.full(len(rows), -1, np.int32)
  walk, bike = int(LaneType.WALK), int(LaneType.BIKE)
  for k, (_, _, kind, road) in enumerate(rows[:-1]):
    _, _, other, other_road = rows[k + 1]
    if road == other_road and kind == other and kind not in (walk, bike):
      inner[k], outer[k + 1] = k + 1, k
  return (outer, inner) if left_hand else (inner, outer)
