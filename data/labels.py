"""What a clip should be answered with: agents' boxes and futures, map elements, the ego's state, future and actions."""

import numpy as np

from data import motion
from data.actors import BOX_CLASS
from data.clips import BOX_CLASSES, ELEMENT_CLASSES, RARE, Clip, ClipConfig
from data.ground import JUNCTION, ROAD
from data.schema import LaneType, Scene
from data.world import View, World, agent_boxes, pose_of, to_ego, wrap

_HARD_BRAKE = 3.0  # m/s^2
_SHARP_TURN = np.deg2rad(45.0)  # from the first to the last frame that is known
_CLOSE = (12.0, 2.5)  # m ahead, m to either side
_VULNERABLE = [BOX_CLASSES.index("two_wheeler"), BOX_CLASSES.index("pedestrian")]


def agents(scene: Scene, config: ClipConfig, ego: int, frames: np.ndarray, stride: int) -> Clip:
  """Slots for the agents that come nearest to the ego within the grid, with their boxes and futures."""
  side = config.grid * config.cell_m
  clip: Clip = {name: np.zeros(shape, dtype) for name, (shape, dtype) in config.spec.items() if "K" in name}
  clip["agent_K"][:] = -1
  poses = [pose_of(scene, int(frame), ego) for frame in frames]
  place = np.stack(
    [to_ego(scene.position_TxAx2[f].astype(np.float64), p) for f, p in zip(frames, poses, strict=True)]
  )
  corner = np.array([-config.rear_m, -0.5 * side])
  present = scene.valid_TxA[frames] & ((place >= corner) & (place < corner + side)).all(-1)
  present[:, ego] = False
  distance = np.where(present, np.hypot(place[..., 0], place[..., 1]), np.inf).min(0)
  chosen = np.argsort(distance, kind="stable")[: config.boxes]
  chosen = chosen[np.isfinite(distance[chosen])]
  count = len(chosen)
  clip["agent_K"][:count], clip["class_K"][:count] = chosen, BOX_CLASS[scene.type_A[chosen]]
  clip["present_TxK"][:, :count] = present[:, chosen]
  for t, (frame, pose) in enumerate(zip(frames, poses, strict=True)):
    here = clip["present_TxK"][t, :count, None]
    clip["boxes_TxKx7"][t, :count] = np.where(here, agent_boxes(scene, int(frame), chosen, pose), 0)
    later = int(frame) + stride * np.arange(1, config.futures + 1)
    known = later < len(scene.valid_TxA)
    later = np.where(known, later, 0)
    mask = scene.valid_TxA[later][:, chosen].T & known & here
    future = to_ego(scene.position_TxAx2[later][:, chosen].astype(np.float64), pose).swapaxes(0, 1)
    clip["futures_mask_TxKxF"][t, :count] = mask
    clip["futures_TxKxFx2"][t, :count] = np.where(mask[..., None], future, 0)
  return clip


def drive(scene: Scene, config: ClipConfig, ego: int, frames: np.ndarray, stride: int) -> Clip:
  """The ego's state (by backward differences over a step), future positions, next moves and places."""
  clip: Clip = {
    name: np.zeros(*config.spec[name])
    for name in ("ego_TxS", "future_TxFx2", "future_mask_TxF", "actions_TxF", "actions_mask_TxF", "place_Tx3")
  }
  steps, ahead = config.steps, np.arange(config.futures)
  run = int(frames[0]) + stride * np.arange(steps + config.futures)
  known = run < len(scene.valid_TxA)
  run = run[known]
  moves = motion.encode(
    scene.position_TxAx2[run, ego : ego + 1], scene.heading_TxA[run, ego : ego + 1],
    scene.velocity_TxAx2[run, ego : ego + 1], scene.valid_TxA[run, ego : ego + 1], config.step_seconds,
  )  # fmt: skip
  for t, frame in enumerate(frames):
    pose = pose_of(scene, int(frame), ego)
    clip["place_Tx3"][t], clip["ego_TxS"][t] = (
      pose,
      _state(scene, ego, int(frame), stride, config.step_seconds),
    )
    moving = ahead[t + ahead < len(run)]
    clip["actions_mask_TxF"][t, moving] = moves.mask_TxA[t + moving, 0]
    clip["actions_TxF"][t, moving] = np.where(
      moves.mask_TxA[t + moving, 0], moves.tokens_TxA[t + moving, 0], 0
    )
    later = ahead[t + 1 + ahead < len(run)]
    there = scene.valid_TxA[run[t + 1 + later], ego]
    xy = to_ego(scene.position_TxAx2[run[t + 1 + later], ego].astype(np.float64), pose)
    clip["future_mask_TxF"][t, later], clip["future_TxFx2"][t, later] = there, np.where(there[:, None], xy, 0)
  return clip


def _state(scene: Scene, ego: int, frame: int, stride: int, seconds: float) -> tuple[float, ...]:
  def speed(at: int) -> float:
    heading = scene.heading_TxA[at, ego]
    return float(scene.velocity_TxAx2[at, ego] @ [np.cos(heading), np.sin(heading)])

  before = frame - stride
  if before < 0 or not scene.valid_TxA[before, ego]:
    return speed(frame), 0.0, 0.0, 0.0
  turned = wrap(float(scene.heading_TxA[frame, ego]) - float(scene.heading_TxA[before, ego])) / seconds
  return speed(frame), turned, (speed(frame) - speed(before)) / seconds, speed(frame) * turned


def rare(scene: Scene, config: ClipConfig, clip: Clip, ego: int, frames: np.ndarray, stride: int) -> int:
  """Index into RARE, over the clip and its future."""
  run = int(frames[0]) + stride * np.arange(config.steps + config.futures)
  run = run[run < len(scene.valid_TxA)]
  run = run[np.logical_and.accumulate(scene.valid_TxA[run, ego])]
  speed = np.hypot(*scene.velocity_TxAx2[run, ego].T)
  if (np.diff(speed) / config.step_seconds).min(initial=0) < -_HARD_BRAKE:
    return RARE.index("hard_brake")
  if np.abs(np.ptp(np.unwrap(scene.heading_TxA[run, ego]))) > _SHARP_TURN:
    return RARE.index("sharp_turn")
  near = (clip["boxes_TxKx7"][..., 0] > 0) & (clip["boxes_TxKx7"][..., 0] < _CLOSE[0])
  near &= (np.abs(clip["boxes_TxKx7"][..., 1]) < _CLOSE[1]) & clip["present_TxK"]
  return RARE.index("close_vulnerable" if near[:, np.isin(clip["class_K"], _VULNERABLE)].any() else "none")


def polylines(world: World) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Map elements of a scene as points at about a metre: xy [n, 2] m, number of the polyline [n], its class [n]."""
  samples, lanes = world.samples, world.scene.lanes
  kind, half = lanes.type_L[samples.lane], 0.5 * lanes.width_L[samples.lane].astype(np.float64)
  road = np.isin(kind, (LaneType.ROAD, LaneType.RAMP))
  drivable = world.ground.at(samples.xy) & (ROAD | JUNCTION) > 0
  left, right = lanes.left_L[samples.lane] >= 0, lanes.right_L[samples.lane] >= 0
  parts = (
    (road | (kind == LaneType.JUNCTION), 0.0, "centreline"),
    (road & left, 1.0, "divider"),  # a divider is the left edge of the lane to its right
    (road & ~left, 1.0, "boundary"),
    (road & ~right, -1.0, "boundary"),
    ((kind == LaneType.WALK) & drivable, 0.0, "crossing"),
  )
  xy, number, classes = [], [], []
  for layer, (chosen, side, name) in enumerate(parts):
    xy.append(samples.xy[chosen] + (side * half[chosen])[:, None] * samples.left[chosen])
    # A gap in the samples, as between two crossings of one walk, starts another polyline.
    own = np.flatnonzero(chosen)
    breaks = np.cumsum(np.diff(own, prepend=-2) > 1) + np.cumsum(np.diff(samples.lane[own], prepend=-1) != 0)
    number.append(breaks * len(parts) + layer)
    classes.append(np.full(len(own), ELEMENT_CLASSES.index(name)))
  return np.concatenate(xy), np.concatenate(number), np.concatenate(classes)


def elements(lines: tuple[np.ndarray, np.ndarray, np.ndarray], seen_from: View, config: ClipConfig) -> Clip:
  """The pieces of `polylines` inside the grid, nearest first, each at equal steps: arrays of one frame."""
  points = np.zeros((config.elements, config.element_points, 2), np.float32)
  classes, mask = np.zeros(config.elements, np.uint8), np.zeros(config.elements, bool)
  xy, number, kind = lines
  side = config.grid * config.cell_m
  place = to_ego(xy, seen_from.pose)
  corner = np.array([-config.rear_m, -0.5 * side])
  inside = np.flatnonzero(((place >= corner) & (place < corner + side)).all(-1))
  if len(inside):
    starts = np.flatnonzero((np.diff(inside, prepend=-2) > 1) | (np.diff(number[inside], prepend=-1) != 0))
    counts = np.diff([*starts, len(inside)])
    nearest = np.minimum.reduceat(np.hypot(*place[inside].T), starts)
    order = np.lexsort((starts, nearest))
    order = order[counts[order] >= 3][: config.elements]
    at = starts[order, None] + np.linspace(0, 1, config.element_points) * (counts[order, None] - 1)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, (starts + counts)[order, None] - 1)
    share = (at - before)[..., None]
    found = place[inside]
    points[: len(order)] = (1 - share) * found[before] + share * found[after]
    classes[: len(order)], mask[: len(order)] = kind[inside[starts[order]]], True
  return {"elements_TxMxPx2": points, "element_class_TxM": classes, "element_mask_TxM": mask}
