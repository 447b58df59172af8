"""What stands on the ground, as upright boxes: agents by type; buildings, lamp posts and traffic lights by the lanes.

Props follow from lane numbers and arc lengths alone, so that a scene always looks the same, however it is turned.
"""

import dataclasses

import numpy as np

from data.clips import BOX_CLASSES, PIXEL_CLASSES
from data.ground import BUILDING, MARKING, WALK, Ground, Samples
from data.schema import AgentType, LaneType, Scene, Signal

# (box class, height m) of every agent type.
AGENTS = {
  AgentType.CAR: ("vehicle", 1.5), AgentType.TRUCK: ("large_vehicle", 3.2), AgentType.BUS: ("large_vehicle", 3.1),
  AgentType.MOTORCYCLE: ("two_wheeler", 1.4), AgentType.BICYCLE: ("two_wheeler", 1.7),
  AgentType.PEDESTRIAN: ("pedestrian", 1.7), AgentType.SERVICE: ("large_vehicle", 2.4),
  AgentType.OTHER: ("vehicle", 1.5),
}  # fmt: skip
BOX_CLASS = np.array([BOX_CLASSES.index(AGENTS[kind][0]) for kind in AgentType], np.uint8)
HEIGHT = np.array([AGENTS[kind][1] for kind in AgentType], np.float32)

_FAST = 20.0  # m/s; roads with a higher limit have few buildings
_BUILT, _BUILT_FAST = 0.6, 0.1  # share of building plots in use
_PLOT, _POST_SPACING = 24.0, 35.0  # m along the road
_SMALLEST, _LARGEST = (9, 7, 3.5, 5), (19, 13, 14, 11)  # m: length, depth, height, setback of a building
_POST = (0.25, 0.25, 6.0)  # m
_HEAD = (0.8, 0.8, 1.2, 3.9)  # m: length, width, height of a traffic light, height of its centre


@dataclasses.dataclass(frozen=True)
class Props:
  """boxes_Nx7: float64 in the scene frame. class_N: index into PIXEL_CLASSES. tone_N: shade in [0, 1].
  signal_N: the lane whose signal a traffic light shows, -1 for the rest."""

  boxes_Nx7: np.ndarray
  class_N: np.ndarray
  tone_N: np.ndarray
  signal_N: np.ndarray


def props(scene: Scene, ground: Ground, samples: Samples) -> Props:
  """Buildings and posts beside the outer lanes, lights at the stop lines; buildings are also painted on the ground."""
  boxes: list[np.ndarray] = []
  kinds: list[str] = []
  tones: list[float] = []
  lanes = scene.lanes
  starts = np.flatnonzero(np.diff(samples.lane, prepend=-1))
  for first, last in zip(starts, [*starts[1:], len(samples.lane)], strict=True):
    lane = int(samples.lane[first])
    if lanes.type_L[lane] not in (LaneType.ROAD, LaneType.RAMP):
      continue
    rng = np.random.default_rng(lane)
    own = samples[first:last]
    share = _BUILT_FAST if lanes.speed_limit_L[lane] > _FAST else _BUILT
    for side, neighbour in ((1.0, lanes.left_L[lane]), (-1.0, lanes.right_L[lane])):
      if neighbour < 0:
        edge = 0.5 * float(lanes.width_L[lane])
        for box in _plots(own, side, edge, share, rng):
          if not ground.at(_footprint(box, 1.0, margin=1.0)).any():
            ground.paint(_footprint(box, 0.7 * ground.cell), BUILDING)
            boxes.append(box)
            kinds.append("building")
            tones.append(float(rng.random()))
        posts = _posts(own, side, edge)
        posts = posts[ground.at(posts[:, :2]) & ~np.uint8(WALK | MARKING) == 0]
        boxes += list(posts)
        kinds += ["pole"] * len(posts)
        tones += [0.4] * len(posts)
  heads, signals = _lights(scene)
  every = np.concatenate([np.array(boxes).reshape(-1, 7), heads])
  class_N = np.array([PIXEL_CLASSES.index(k) for k in [*kinds, *["pole"] * len(heads)]], np.uint8)
  tone_N = np.array([*tones, *[0.1] * len(heads)], np.float32)
  return Props(every, class_N, tone_N, np.concatenate([np.full(len(boxes), -1), signals]).astype(np.int32))


def _plots(own: Samples, side: float, edge: float, share: float, rng: np.random.Generator) -> np.ndarray:
  """Candidate buildings along one side of a lane, [n, 7]."""
  arcs = np.arange(0.5 * _PLOT, own.arc[-1], _PLOT)
  drawn = rng.uniform(_SMALLEST, _LARGEST, (len(arcs), 4))
  used = rng.random(len(arcs)) < share
  length, depth, height, setback = drawn[used].T
  return _beside(own, arcs[used], side * (edge + setback + 0.5 * depth), length, depth, height)


def _posts(own: Samples, side: float, edge: float) -> np.ndarray:
  """Candidate lamp posts along one side of a lane, [n, 7]."""
  arcs = np.arange(0.5 * _POST_SPACING, own.arc[-1], _POST_SPACING)
  length, width, height = _POST
  return _beside(own, arcs, side * (edge + 1.0), length, width, height)


def _beside(own: Samples, arcs, lateral, length, width, height) -> np.ndarray:
  """Boxes [n, 7] that stand along a lane, `lateral` m to the left of it."""
  k = np.minimum(np.searchsorted(own.arc, arcs), len(own.arc) - 1)
  centre = own.xy[k] + (lateral + np.zeros(len(k)))[:, None] * own.left[k]
  yaw = np.arctan2(-own.left[k, 0], own.left[k, 1])
  rest = np.broadcast_arrays(0.5 * np.asarray(height), length, width, height, yaw)
  return np.column_stack([centre, *rest])


def _footprint(box: np.ndarray, spacing: float, margin: float = 0.0) -> np.ndarray:
  """Points [n, 2] all over a box's base, and `margin` m beyond it."""
  half = 0.5 * box[3:5] + margin
  along, across = (np.linspace(-h, h, max(int(2 * h / spacing), 2) + 1) for h in half)
  x, y = (axis.ravel() for axis in np.meshgrid(along, across))
  cos, sin = np.cos(box[6]), np.sin(box[6])
  return box[:2] + np.stack([cos * x - sin * y, sin * x + cos * y], -1)


def _lights(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
  """Boxes [n, 7] above the stop lines, and the lane whose signal each shows: of several, the straightest."""
  best: dict[tuple[float, float], tuple[float, np.ndarray, int]] = {}
  for lane in np.flatnonzero((scene.signal_TxL != Signal.NONE).any(0)):
    points = scene.lanes.points(int(lane)).astype(np.float64)
    turning = scene.lanes.type_L[lane] == LaneType.JUNCTION  # its signal is shown at its entry
    at, ahead = (points[0], points[1] - points[0]) if turning else (points[-1], points[-1] - points[-2])
    chord = points[-1] - points[0]
    bend = abs(float(ahead[0] * chord[1] - ahead[1] * chord[0])) / max(
      float(np.hypot(*ahead) * np.hypot(*chord)), 1e-9
    )
    length, width, height, z = _HEAD
    box = np.array([*at, z, length, width, height, np.arctan2(ahead[1], ahead[0])])
    key = (round(float(at[0])), round(float(at[1])))
    if key not in best or bend < best[key][0]:
      best[key] = (bend, box, int(lane))
  chosen = list(best.values())
  return np.array([box for _, box, _ in chosen]).reshape(-1, 7), np.array([lane for *_, lane in chosen], int)
