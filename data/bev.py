"""The bird's eye view of one frame: the raster a model sees, and the class of every cell."""

import numpy as np

from data import lanes as lane_geometry
from data.clips import (
  BOX_CLASSES,
  CELL_CLASSES,
  FIRST_BOX_CLASS,
  RASTER_CHANNELS,
  VELOCITY_SCALE,
  VELOCITY_ZERO,
  ClipConfig,
)
from data.ground import BIKE, JUNCTION, MARKING, ROAD, WALK
from data.schema import LaneType, Signal
from data.world import CLASS_OF_BITS, LIT_LANES, View, World, to_ego, to_scene

_STOP_LENGTH = 8.0  # m of a lane before (or, in a junction, behind) its stop line that carry the signal
_ROUTE_LENGTH = 80.0  # m of the planned path that are drawn
_LEAST_HALF = 0.71  # cells: half diagonal of a cell, so that an agent covers the cell of its centre
_CHANNEL = {name: number for number, name in enumerate(RASTER_CHANNELS)}
_VULNERABLE = [BOX_CLASSES.index("two_wheeler"), BOX_CLASSES.index("pedestrian")]
_GO, _STOP = (Signal.GREEN, Signal.GREEN_YIELD), (Signal.YELLOW, Signal.RED)


def draw(seen_from: View, ego: int, config: ClipConfig) -> tuple[np.ndarray, np.ndarray]:
  """Raster uint8 [H, W, channels] and cells uint8 [H, W]."""
  world = seen_from.world
  bits = _map_bits(world, seen_from.pose, config)
  raster = np.zeros((*bits.shape, len(RASTER_CHANNELS)), np.uint8)
  drivable, walk = bits & (ROAD | JUNCTION) > 0, bits & WALK > 0
  for name, shown in (
    ("road", bits & ROAD > 0), ("junction", bits & JUNCTION > 0), ("bike_lane", bits & BIKE > 0),
    ("sidewalk", walk & ~drivable), ("crossing", walk & drivable), ("marking", bits & MARKING > 0),
  ):  # fmt: skip
    raster[..., _CHANNEL[name]] = 255 * shown
  for name, xy in (*_signals(world, seen_from.frame), ("route", _route(seen_from, ego))):
    i, j = _cells_of(to_ego(xy, seen_from.pose), config)
    raster[i, j, _CHANNEL[name]] = 255
  cells = CLASS_OF_BITS[bits]
  raster[..., _CHANNEL["velocity_x"] : _CHANNEL["velocity_y"] + 1] = VELOCITY_ZERO
  _draw_agents(seen_from, config, raster, cells)
  return raster, cells


def _map_bits(world: World, pose: np.ndarray, config: ClipConfig) -> np.ndarray:
  """uint8 [H, W]: the surface at each cell's centre, and markings found anywhere in the cell."""
  centres = config.centres_HxWx2.astype(np.float64)
  bits = world.ground.at(to_scene(centres, pose)) & ~np.uint8(MARKING)
  quarter = 0.25 * config.cell_m
  for shift in ((-quarter, -quarter), (-quarter, quarter), (quarter, -quarter), (quarter, quarter)):
    bits |= world.ground.around(to_scene(centres + shift, pose)) & MARKING
  return bits


def _cells_of(xy: np.ndarray, config: ClipConfig) -> tuple[np.ndarray, np.ndarray]:
  """Row and column of the cells of positions [n, 2] in the ego frame; those outside are left out."""
  corner = np.array([-config.rear_m, -0.5 * config.grid * config.cell_m])
  place = np.floor((xy - corner) / config.cell_m).astype(int)
  place = place[((place >= 0) & (place < config.grid)).all(-1)]
  return place[:, 0], place[:, 1]


def _signals(world: World, frame: int):
  """("go" or "stop", positions [n, 2] in the scene) of the lanes with a signal."""
  scene, samples = world.scene, world.samples
  lane = samples.lane
  turning = scene.lanes.type_L[lane] == LaneType.JUNCTION
  length = np.asarray(scene.lanes.lengths)[lane]
  near = np.where(turning, samples.arc < _STOP_LENGTH, samples.arc > length - _STOP_LENGTH)
  near &= np.isin(scene.lanes.type_L[lane], LIT_LANES)
  for name, shown in (("go", _GO), ("stop", _STOP)):  # where lanes fan out, a stop is drawn beside a go
    yield name, samples.xy[near & np.isin(scene.signal_TxL[frame, lane], shown)]


def _route(seen_from: View, ego: int) -> np.ndarray:
  """Positions [n, 2] in the scene along the path the ego plans to take, a lane's middle wide."""
  scene, frame = seen_from.world.scene, seen_from.frame
  lane = int(scene.lane_TxA[frame, ego])
  if lane < 0 or scene.lanes.type_L[lane] == LaneType.WALK:
    return np.zeros((0, 2))
  roads = scene.route[scene.route_splits[ego] : scene.route_splits[ego + 1]]
  xy = scene.position_TxAx2[frame, ego]
  path = lane_geometry.follow(scene.lanes, lane, xy, roads, _ROUTE_LENGTH, scene.type_A[ego])
  return path.at(np.arange(0, path.length, 0.5))


def _draw_agents(seen_from: View, config: ClipConfig, raster: np.ndarray, cells: np.ndarray) -> None:
  """Occupancy, velocity and class in the cells whose centre a box covers; the cell of a box's own centre last."""
  scene = seen_from.world.scene
  agents = np.flatnonzero(seen_from.agent_N >= 0)
  boxes, kinds = seen_from.boxes_Nx7[agents], seen_from.class_N[agents]
  velocity = scene.velocity_TxAx2[seen_from.frame, seen_from.agent_N[agents]].astype(np.float64)
  velocity = to_ego(velocity + seen_from.pose[:2], seen_from.pose)
  speed_code = np.clip(np.rint(VELOCITY_ZERO + VELOCITY_SCALE * velocity), 0, 255).astype(np.uint8)
  order = np.argsort(kinds, kind="stable")  # the vulnerable last
  covered = []
  for n in order:
    x, y, half = *boxes[n, :2], np.maximum(0.5 * boxes[n, 3:5], _LEAST_HALF * config.cell_m)
    reach = float(np.hypot(*half))
    low = np.floor(
      (np.array([x + config.rear_m, y + 0.5 * config.grid * config.cell_m]) - reach) / config.cell_m
    )
    high = low + np.ceil(2 * reach / config.cell_m) + 1
    (i0, j0), (i1, j1) = np.clip(low, 0, config.grid).astype(int), np.clip(high, 0, config.grid).astype(int)
    offset = config.centres_HxWx2[i0:i1, j0:j1] - (x, y)
    cos, sin = np.cos(boxes[n, 6]), np.sin(boxes[n, 6])
    along = np.abs(cos * offset[..., 0] + sin * offset[..., 1])
    across = np.abs(cos * offset[..., 1] - sin * offset[..., 0])
    i, j = np.nonzero((along <= half[0]) & (across <= half[1]))
    covered.append((i + i0, j + j0, n))
  covered += [(*_cells_of(boxes[n : n + 1, :2], config), n) for n in order]
  for i, j, n in covered:
    vulnerable = kinds[n] - FIRST_BOX_CLASS in _VULNERABLE
    raster[i, j, _CHANNEL["vehicle"]] = 0 if vulnerable else 255
    raster[i, j, _CHANNEL["vulnerable"]] = 255 if vulnerable else 0
    raster[i, j, _CHANNEL["velocity_x"] : _CHANNEL["velocity_y"] + 1] = speed_code[n]
    cells[i, j] = kinds[n]


assert CELL_CLASSES[FIRST_BOX_CLASS] == BOX_CLASSES[0]
