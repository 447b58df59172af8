"""What the ground of a scene is made of: its lanes painted into a raster of bits, looked up by position."""

import dataclasses
import functools

import numpy as np

from data.schema import Lanes, LaneType, Scene

ROAD, JUNCTION, BIKE, WALK, MARKING, BUILDING = (1 << bit for bit in range(6))

CELL = 0.25  # m, edge of a raster cell: about the width of a lane marking
REACH = 110.0  # m around the agents that is painted: what a sensor may see
_LARGEST = 100_000_000  # cells; a larger map gets larger cells
_SPACING = 0.7  # cells between painted points: however a lane lies, no cell of it is missed
_BORDER = 15.0  # m of the area that lanes may reach beyond their centrelines
_DASH, _GAP = 3.0, 4.0  # m
_BITS = {
  LaneType.ROAD: ROAD, LaneType.RAMP: ROAD, LaneType.OTHER: ROAD, LaneType.JUNCTION: JUNCTION,
  LaneType.BIKE: BIKE, LaneType.WALK: WALK,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Samples:
  """Points along lanes at equal spacing: xy [n, 2] m, left [n, 2] unit normals, arc [n] m, lane [n]."""

  xy: np.ndarray
  left: np.ndarray
  arc: np.ndarray
  lane: np.ndarray

  def __getitem__(self, chosen) -> "Samples":
    return Samples(self.xy[chosen], self.left[chosen], self.arc[chosen], self.lane[chosen])


@dataclasses.dataclass(frozen=True)
class Ground:
  """bits: uint8 [H, W], row along x, column along y. origin: [2] m, corner of cell [0, 0]. cell: m, edge."""

  bits: np.ndarray
  origin: np.ndarray
  cell: float

  def at(self, xy: np.ndarray) -> np.ndarray:
    """uint8 [...]: the bits at positions [..., 2] in the scene frame; 0 beyond the painted area."""
    return _look(self.bits, (xy - self.origin) / self.cell)

  def around(self, xy: np.ndarray) -> np.ndarray:
    """The bits found anywhere in the coarse cell of each position."""
    return _look(self.coarse, (xy - self.origin) / (2 * self.cell))

  def paint(self, xy: np.ndarray, bit: int) -> None:
    """Adds a bit at positions [n, 2]; those beyond the painted area are left out."""
    place = np.floor((xy - self.origin) / self.cell).astype(np.int64)
    place = place[((place >= 0) & (place < self.bits.shape)).all(-1)]
    self.bits[place[:, 0], place[:, 1]] |= bit

  @functools.cached_property
  def coarse(self) -> np.ndarray:
    """The bits of 2 x 2 cells taken together by "or"; nothing may be painted after it was first read."""
    rows = self.bits[0::2] | self.bits[1::2]
    return rows[:, 0::2] | rows[:, 1::2]


def _look(raster: np.ndarray, place: np.ndarray) -> np.ndarray:
  index = np.floor(place).astype(np.int32)
  x, y = index[..., 0], index[..., 1]
  inside = (x >= 0) & (y >= 0) & (x < raster.shape[0]) & (y < raster.shape[1])
  return np.where(inside, raster[np.where(inside, x, 0), np.where(inside, y, 0)], 0).astype(np.uint8)


def sample(lanes: Lanes, spacing: float) -> Samples:
  """Every lane at equal steps of at most `spacing` m, both ends included."""
  if not len(lanes):
    return Samples(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64))
  xy = lanes.xy_Nx2.astype(np.float64)
  first, last = lanes.splits[:-1], lanes.splits[1:] - 1
  step = np.diff(xy, axis=0)
  # Gaps between lanes count, but are not sampled.
  reached = np.concatenate([[0.0], np.cumsum(np.hypot(*step.T))])
  step = step / np.maximum(np.hypot(*step.T), 1e-9)[:, None]
  ahead = np.zeros_like(xy)
  inner = np.ones(len(step), bool)
  inner[last[:-1]] = False
  ahead[:-1][inner] += step[inner]
  ahead[1:][inner] += step[inner]
  length = reached[last] - reached[first]
  count = np.ceil(length / spacing).astype(np.int64) + 1
  count = np.maximum(count, 2)
  lane = np.repeat(np.arange(len(lanes)), count)
  number = np.arange(len(lane)) - np.repeat(np.cumsum(count) - count, count)
  arc = number * (length / (count - 1))[lane]
  place = np.minimum(reached[first][lane] + arc, reached[last][lane])
  at = np.stack([np.interp(place, reached, xy[:, i]) for i in range(2)], -1)
  course = np.stack([np.interp(place, reached, ahead[:, i]) for i in range(2)], -1)
  course /= np.maximum(np.hypot(*course.T), 1e-9)[:, None]
  return Samples(at, np.stack([-course[:, 1], course[:, 0]], -1), arc, lane)


def near_agents(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
  """Corners (low, high) [2] m of the area within `REACH` of the agents."""
  seen = scene.position_TxAx2[scene.valid_TxA].astype(np.float64)
  return seen.min(0) - REACH, seen.max(0) + REACH


def ground(scene: Scene) -> Ground:
  """The lanes near the agents."""
  return paint_lanes(scene.lanes, *near_agents(scene))


def paint_lanes(lanes: Lanes, low: np.ndarray, high: np.ndarray) -> Ground:
  """The lanes between two corners [2] m: surfaces by lane type, then the markings at the edges of lanes of a road."""
  cell = max(CELL, float(np.sqrt(np.prod(high - low) / _LARGEST)))
  shape = 2 * np.ceil((high - low) / (2 * cell)).astype(int)
  made = Ground(np.zeros(tuple(shape), np.uint8), low, cell)
  found = sample(lanes, _SPACING * cell)
  found = found[((found.xy > low + _BORDER) & (found.xy < high - _BORDER)).all(-1)]
  width = lanes.width_L[found.lane].astype(np.float64)
  kind = lanes.type_L[found.lane]
  for lane_type, bit in _BITS.items():
    chosen = np.flatnonzero(kind == lane_type)
    if len(chosen):
      middle = ((found.xy[chosen] - low) / cell).astype(np.float32)
      across = (width[chosen, None] / cell * found.left[chosen]).astype(np.float32)
      for share in np.linspace(-0.5, 0.5, int(np.ceil(width[chosen].max() / (_SPACING * cell))) + 1):
        place = (middle + np.float32(share) * across).astype(np.int32)
        made.bits.reshape(-1)[place[:, 0] * shape[1] + place[:, 1]] |= bit
  for line in (1, -1):
    neighbour = (lanes.left_L if line > 0 else lanes.right_L)[found.lane]
    marked = np.isin(kind, (LaneType.ROAD, LaneType.RAMP))
    dashed = (found.arc % (_DASH + _GAP) < _DASH) & (line > 0)  # neighbours share the line to the left of one
    marked &= (neighbour < 0) | dashed
    made.paint((found.xy + (0.5 * line * width)[:, None] * found.left)[marked], MARKING)
  return made
