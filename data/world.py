"""A scene as sensors meet it: ground and props, made once; then all boxes near an ego at a frame, in the ego frame."""

import dataclasses

import numpy as np

from data import actors, ground
from data.actors import Props
from data.clips import CELL_CLASSES, FIRST_BOX_CLASS
from data.ground import BIKE, BUILDING, JUNCTION, MARKING, ROAD, WALK, Ground, Samples
from data.raycast import GROUND, cast
from data.schema import LaneType, Scene, Signal

RANGE = 90.0  # m; what is further away is not seen
_SPACING = 1.0  # m between the samples that labels and props are made of


@dataclasses.dataclass(frozen=True)
class World:
  """A scene with all that does not change over time.

  samples: of its lanes near the agents. tone_A: shade of every agent in [0, 1].
  """

  scene: Scene
  ground: Ground
  props: Props
  samples: Samples
  tone_A: np.ndarray


@dataclasses.dataclass(frozen=True)
class View:
  """Boxes near the ego at one frame, in the ego frame.

  pose: ego x, y, yaw in the scene. boxes_Nx7, class_N (index into PIXEL_CLASSES), tone_N in [0, 1].
  agent_N: column in the scene, -1 for props. signal_N: Signal shown, NONE for all but traffic lights.
  """

  world: World
  frame: int
  pose: np.ndarray
  boxes_Nx7: np.ndarray
  class_N: np.ndarray
  tone_N: np.ndarray
  agent_N: np.ndarray
  signal_N: np.ndarray


@dataclasses.dataclass(frozen=True)
class Seen:
  """What R rays met. class_R: index into PIXEL_CLASSES. box_R: number in the view, negative for ground and sky.
  distance_R m, inf for the sky; point_Rx3: in the ego frame; ground_Rx2: in the scene; normal_Rx3."""

  class_R: np.ndarray
  box_R: np.ndarray
  distance_R: np.ndarray
  point_Rx3: np.ndarray
  ground_Rx2: np.ndarray
  normal_Rx3: np.ndarray


def prepare(scene: Scene) -> World:
  painted = ground.ground(scene)
  low, high = ground.near_agents(scene)
  samples = ground.sample(scene.lanes, _SPACING)
  samples = samples[((samples.xy > low) & (samples.xy < high)).all(-1)]
  props = actors.props(scene, painted, samples)
  tone_A = (np.arange(len(scene.track_A)) * 0.618034) % 1.0  # spread evenly, neighbours apart
  return World(scene, painted, props, samples, tone_A.astype(np.float32))


def pose_of(scene: Scene, frame: int, agent: int) -> np.ndarray:
  """float64 [3]: x, y, yaw."""
  return np.array([*scene.position_TxAx2[frame, agent], scene.heading_TxA[frame, agent]], np.float64)


def to_ego(xy: np.ndarray, pose: np.ndarray) -> np.ndarray:
  """Positions [..., 2] in the scene to the ego frame."""
  return (xy - pose[:2]) @ _axes(pose[2])


def to_scene(xy: np.ndarray, pose: np.ndarray) -> np.ndarray:
  """Positions [..., 2] in the ego frame to the scene: the inverse of `to_ego`."""
  return xy @ _axes(pose[2]).T + pose[:2]


def _axes(yaw: float) -> np.ndarray:
  """[2, 2]: forward and left of the ego as columns, in the scene."""
  return np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])


def wrap(angle):
  """Angle to (-pi, pi]."""
  return np.pi - (np.pi - angle) % (2 * np.pi)


def agent_boxes(scene: Scene, frame: int, agents: np.ndarray, pose: np.ndarray) -> np.ndarray:
  """float64 [n, 7]: boxes of agents at a frame in the ego frame of `pose`."""
  place = to_ego(scene.position_TxAx2[frame, agents].astype(np.float64), pose)
  height = actors.HEIGHT[scene.type_A[agents]].astype(np.float64)
  yaw = wrap(scene.heading_TxA[frame, agents].astype(np.float64) - pose[2])
  size = scene.size_Ax2[agents].astype(np.float64)
  return np.column_stack([place, 0.5 * height, size, height, yaw])


def view(world: World, frame: int, ego: int) -> View:
  """All boxes within `RANGE` of the ego, without the ego itself."""
  scene, props = world.scene, world.props
  pose = pose_of(scene, frame, ego)
  offset = scene.position_TxAx2[frame] - scene.position_TxAx2[frame, ego]
  near = scene.valid_TxA[frame] & (np.hypot(offset[:, 0], offset[:, 1]) < RANGE)
  near[ego] = False
  agents = np.flatnonzero(near)
  standing = np.flatnonzero(np.hypot(*(props.boxes_Nx7[:, :2] - pose[:2]).T) < RANGE)
  fixed = props.boxes_Nx7[standing].copy()
  fixed[:, :2], fixed[:, 6] = to_ego(fixed[:, :2], pose), fixed[:, 6] - pose[2]
  lane = props.signal_N[standing]
  signal = np.where(
    lane >= 0, scene.signal_TxL[frame, np.maximum(lane, 0)] if len(scene.lanes) else 0, Signal.NONE
  )
  classes = FIRST_BOX_CLASS + actors.BOX_CLASS[scene.type_A[agents]]
  return View(
    world,
    frame,
    pose,
    np.concatenate([agent_boxes(scene, frame, agents, pose), fixed]),
    np.concatenate([classes, props.class_N[standing]]).astype(np.uint8),
    np.concatenate([world.tone_A[agents], props.tone_N[standing]]),
    np.concatenate([agents, np.full(len(standing), -1)]),
    np.concatenate([np.zeros(len(agents), np.uint8), signal]).astype(np.uint8),
  )


def look(seen_from: View, origin_3: np.ndarray, rays_Rx3: np.ndarray, sky: int) -> Seen:
  """Casts unit rays [R, 3] from a point of the ego frame; `sky` is the class of rays that meet nothing."""
  hits = cast(origin_3, rays_Rx3, seen_from.boxes_Nx7)
  point = origin_3 + np.where(np.isfinite(hits.distance), hits.distance, 0)[:, None] * rays_Rx3
  flat = hits.box == GROUND
  ground_xy = np.zeros((len(point), 2))
  ground_xy[flat] = to_scene(point[flat, :2].astype(np.float64), seen_from.pose)
  classes = np.full(len(point), sky, np.uint8)
  classes[flat] = CLASS_OF_BITS[seen_from.world.ground.at(ground_xy[flat])]
  solid = hits.box >= 0
  classes[solid] = seen_from.class_N[hits.box[solid]]
  return Seen(classes, hits.box, hits.distance, point.astype(np.float32), ground_xy, hits.normal)


def _class_of_bits() -> np.ndarray:
  """uint8 [256]: the class of every combination of ground bits."""
  bits = np.arange(256)
  drivable, walk = bits & (ROAD | JUNCTION) > 0, bits & WALK > 0
  return np.select(
    [bits & BUILDING > 0, walk & drivable, bits & MARKING > 0, walk, drivable, bits & BIKE > 0],
    [CELL_CLASSES.index(n) for n in ("building", "crossing", "marking", "sidewalk", "road", "bike_lane")],
    CELL_CLASSES.index("off_road"),
  ).astype(np.uint8)


CLASS_OF_BITS = _class_of_bits()
LIT_LANES = (LaneType.ROAD, LaneType.RAMP, LaneType.JUNCTION)  # those whose signals drivers obey
