"""Lane geometry: match poses to lanes, and the path an agent will follow along them.

Everything is metres and radians in the scene frame. A polyline is float [P, 2] in driving direction; its arc
length starts at 0; lateral offsets are positive to the left.
"""

import dataclasses
import math

import numpy as np

from data.schema import Lanes

_AGREE = np.cos(np.deg2rad(60.0))  # direction of travel against direction of the lane
_CELL = 25.0  # m edge of the grid that keeps the pose-segment table small
_JUNCTION_HOPS = 3  # lanes inside one junction between two roads of a route
_LANE_CHANGE = 30.0  # m over which a planned lane change is drawn
_MAX_LANES = 256  # on one path: bounds circles of very short lanes


@dataclasses.dataclass(frozen=True)
class Path:
  """Attributes:
  points: float32 [n, 2] m. arcs: float64 [n] m, arc length at each point, from 0.
  lanes: int32 [k] lanes in driving order. starts: float64 [k] m, arc length at which each lane begins.
  """

  points: np.ndarray
  arcs: np.ndarray
  lanes: np.ndarray
  starts: np.ndarray

  @property
  def length(self) -> float:
    return float(self.arcs[-1])

  def at(self, arcs: np.ndarray) -> np.ndarray:
    """float64 [n, 2]: the points at arc lengths `arcs` [n], held at the ends."""
    return np.stack([np.interp(arcs, self.arcs, self.points[:, i]) for i in range(2)], -1)

  def cut(self, start: float, length: float) -> "Path":
    """The stretch from arc length `start` on, `length` m or what is left."""
    end = min(start + length, self.length)
    inside = (self.arcs > start) & (self.arcs < end)
    ends = self.at(np.array([start, end]))
    points = np.concatenate([ends[:1], self.points[inside], ends[1:]]).astype(np.float32)
    arcs = np.concatenate([[0.0], self.arcs[inside] - start, [end - start]])
    first = max(int(np.searchsorted(self.starts, start, side="right")) - 1, 0)
    last = max(int(np.searchsorted(self.starts, end)), first + 1)
    return Path(points, arcs, self.lanes[first:last], np.maximum(self.starts[first:last] - start, 0.0))


def arc_lengths(points: np.ndarray) -> np.ndarray:
  """float64 [P] m: distance travelled at each point."""
  steps = np.diff(np.asarray(points, np.float64), axis=0)
  return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


def at(points: np.ndarray, arcs: np.ndarray) -> np.ndarray:
  """float64 [n, 2]: the points at arc lengths `arcs` [n], held at the ends."""
  arc = arc_lengths(points)
  return np.stack([np.interp(arcs, arc, points[:, 0]), np.interp(arcs, arc, points[:, 1])], -1)


def resample(points: np.ndarray, count: int) -> np.ndarray:
  """float32 [count, 2] at equal arc length, ends included."""
  return at(points, np.linspace(0.0, arc_lengths(points)[-1], count)).astype(np.float32)


def project(points: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Arc length and lateral offset [...] of the nearest place on a polyline to xy [..., 2].

  The arc length is held to [0, length]; the offset is the signed distance to that place.
  """
  points, xy = np.asarray(points, np.float64), np.asarray(xy, np.float64)
  start, step = points[:-1], np.diff(points, axis=0)
  share, squared, side = _to_segments(xy.reshape(-1, 2), start, step)
  best = squared.argmin(-1)
  rows = np.arange(len(best))
  lengths = np.hypot(step[:, 0], step[:, 1])
  arc = arc_lengths(points)[best] + share[rows, best] * lengths[best]
  lateral = np.sqrt(squared[rows, best]) * np.where(side[rows, best] < 0, -1.0, 1.0)
  return arc.reshape(xy.shape[:-1]), lateral.reshape(xy.shape[:-1])


def match_lanes(
  position_Nx2: np.ndarray, heading_N: np.ndarray, lanes: Lanes, max_distance: float
) -> np.ndarray:
  """int32 [N]: nearest lane within `max_distance` m that points within 60 degrees of the heading, else -1.

  Where lanes coincide (they fan out at a junction), the one that points most like the heading wins.
  """
  matched = np.full(len(position_Nx2), -1, np.int32)
  if not len(lanes) or not len(position_Nx2):
    return matched
  position = np.asarray(position_Nx2, np.float64)
  course = np.stack([np.cos(heading_N), np.sin(heading_N)], -1).astype(np.float64)
  start, step, lane = _segments(lanes)
  low = np.minimum(start, start + step) - max_distance
  high = np.maximum(start, start + step) + max_distance
  direction = step / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)[:, None]

  cells, cell_N = np.unique(np.floor(position / _CELL).astype(np.int64), axis=0, return_inverse=True)
  order = cell_N.ravel().argsort(kind="stable")
  edges = np.searchsorted(cell_N.ravel()[order], np.arange(len(cells) + 1))
  for cell, first, last in zip(cells * _CELL, edges[:-1], edges[1:], strict=True):
    near = np.flatnonzero(((low <= cell + _CELL) & (high >= cell)).all(-1))
    if not len(near):
      continue
    rows = order[first:last]
    _, squared, _ = _to_segments(position[rows], start[near], step[near])
    agreement = course[rows] @ direction[near].T
    allowed = (agreement >= _AGREE) & (squared <= max_distance**2)
    cost = np.where(allowed, np.sqrt(squared) - 1e-3 * agreement, np.inf)
    best = cost.argmin(-1)
    found = np.isfinite(cost[np.arange(len(rows)), best])
    matched[rows] = np.where(found, lane[near[best]], -1)
  return matched


def follow(
  lanes: Lanes, start_lane: int, start_xy: np.ndarray, route_roads, length_m: float, agent_type: int
) -> Path:
  """The centreline ahead of an agent, from its projection on the lane, for `length_m` or to a dead end.

  Args:
    lanes: the map. start_lane: the lane the agent is on. start_xy: [2] m.
    route_roads: planned roads in driving order, empty when unknown.
    length_m: wanted length.
    agent_type: schema.AgentType. From a lane that is open to its class nobody goes onto one that is closed to it
      (`Lanes.closed`); who is on such a lane already goes on along it until it meets an open one.

  The path takes successors that lead to the next road of the route and changes to the nearest neighbour
  lane when only that one does. Without a route, or beyond it, it goes straight on.
  """
  route = [int(road) for road in route_roads]
  closed = lanes.closed[int(agent_type)]
  lane, place = _best_lane(lanes, closed, int(start_lane), route, -1)
  skipped = float(project(lanes.points(lane), start_xy)[0])
  pieces, visited, starts = [lanes.points(lane)], [lane], [0.0]
  total = lanes.lengths[lane] - skipped
  while total < length_m and len(visited) < _MAX_LANES:
    following = _next_lane(lanes, closed, lane, route, place)
    if following is None:
      break
    lane, place = _best_lane(lanes, closed, following, route, place)
    points, length = lanes.points(lane), lanes.lengths[lane]
    if lane != following:  # cross over gradually
      cut = min(_LANE_CHANGE, 0.5 * length)
      points, length = (
        np.concatenate([at(points, np.array([cut])), points[arc_lengths(points) > cut]]),
        length - cut,
      )
    gap = points[0] - pieces[-1][-1]
    starts.append(total)
    visited.append(lane)
    pieces.append(points)
    total += math.hypot(gap[0], gap[1]) + length
  points, length = np.concatenate(pieces), min(total, length_m)
  arcs = arc_lengths(points) - skipped
  inside = (arcs > 0) & (arcs < length) & (np.diff(arcs, prepend=-np.inf) > 1e-6)  # lanes share end points
  ends = [[np.interp(arc, arcs, points[:, i]) for i in range(2)] for arc in (0.0, length)]
  points = np.concatenate([ends[:1], points[inside], ends[1:]]).astype(np.float32)
  arcs = np.concatenate([[0.0], arcs[inside], [length]])
  return Path(points, arcs, np.array(visited, np.int32), np.array(starts))


def _best_lane(lanes: Lanes, closed: list[bool], lane: int, route: list[int], place: int) -> tuple[int, int]:
  """The lane itself, or the nearest neighbour if only that one can go on; and the place on the route."""
  place = _place(lanes, lane, route, place)
  if _next_lane(lanes, closed, lane, route, place, strict=True) is not None:
    return lane, place
  left, right = lane, lane
  for _ in range(16):
    left = int(lanes.left_L[left]) if left >= 0 else -1
    right = int(lanes.right_L[right]) if right >= 0 else -1
    for neighbour in (left, right):
      if neighbour < 0 or (closed[neighbour] and not closed[lane]):
        continue
      if _next_lane(lanes, closed, neighbour, route, place, strict=True) is not None:
        return neighbour, place
  return lane, place


def _place(lanes: Lanes, lane: int, route: list[int], place: int) -> int:
  """Index on the route of the last road met, -1 before any; unchanged inside junctions and off the route."""
  road, first = lanes.roads[lane], max(place, 0)
  return route.index(road, first) if road in route[first:] else place


def _next_lane(
  lanes: Lanes, closed: list[bool], lane: int, route: list[int], place: int, strict: bool = False
) -> int | None:
  """The successor to take. `strict`: only if it leads to the next road of the route, when there is one."""
  options = _onward(lanes, closed, lane)
  if not len(options):
    return None
  if not route:
    return _straightest(lanes, lane, options)
  wanted = route if place < 0 else route[place + 1 : place + 2]
  beyond = [] if place < 0 else route[place + 2 : place + 3]
  rank = []
  for option in options:
    ends = _reach(lanes, closed, option, wanted)
    # Best: arrives on a lane from which the road after the next one can be reached too.
    onward = not beyond or any(
      _reach(lanes, closed, s, beyond) for end in ends for s in _onward(lanes, closed, end)
    )
    rank.append(2 if ends and onward else 1 if ends else 0)
  best = max(rank)
  if best == 0 and strict:
    return None
  return _straightest(lanes, lane, [o for o, r in zip(options, rank, strict=True) if r == best])


def _onward(lanes: Lanes, closed: list[bool], lane: int) -> list[int]:
  """The successors that an agent on `lane` may take."""
  return [option for option in lanes.successors[lane] if closed[lane] or not closed[option]]


def _reach(lanes: Lanes, closed: list[bool], lane: int, roads: list[int]) -> list[int]:
  """Lanes of `roads` met from `lane` onward with at most a junction in between."""
  front, met = [lane], []
  for _ in range(_JUNCTION_HOPS + 1):
    met += [i for i in front if lanes.roads[i] in roads]
    front = [s for i in front if lanes.roads[i] not in roads for s in _onward(lanes, closed, i)]
  return met


def _straightest(lanes: Lanes, lane: int, options) -> int:
  """The option whose far end points most like the end of `lane`."""
  if len(options) == 1:
    return int(options[0])
  here = lanes.points(lane)
  ahead = here[-1] - here[-2]

  def straightness(option):
    there = lanes.points(int(option))
    end = there[-1] - there[-2]
    return float(ahead @ end) / max(float(np.hypot(*ahead) * np.hypot(*end)), 1e-9)

  return int(max(options, key=straightness))


def _segments(lanes: Lanes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Start [S, 2], step [S, 2] and lane [S] of all centreline segments."""
  xy = lanes.xy_Nx2.astype(np.float64)
  inner = np.ones(max(len(xy) - 1, 0), bool)
  inner[lanes.splits[1:-1] - 1] = False  # no segment from the end of one lane to the next
  owner = np.repeat(np.arange(len(lanes)), np.diff(lanes.splits))[:-1]
  return xy[:-1][inner], np.diff(xy, axis=0)[inner], owner[inner].astype(np.int32)


def _to_segments(xy_Nx2, start_Sx2, step_Sx2):
  """Share along each segment in [0, 1], squared distance, and side (cross product) [N, S]."""
  dx = xy_Nx2[:, None, 0] - start_Sx2[None, :, 0]
  dy = xy_Nx2[:, None, 1] - start_Sx2[None, :, 1]
  sx, sy = step_Sx2[None, :, 0], step_Sx2[None, :, 1]
  share = np.clip((dx * sx + dy * sy) / np.maximum(sx**2 + sy**2, 1e-12), 0.0, 1.0)
  squared = (dx - share * sx) ** 2 + (dy - share * sy) ** 2
  return share, squared, sx * dy - sy * dx
