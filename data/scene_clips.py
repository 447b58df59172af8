"""One scene to clips: which drives of it, and all arrays of each."""

import zlib

import numpy as np

from data import bev, camera, labels, lidar, rigs
from data.clips import LIGHTS, PIXEL_CLASSES, WEATHERS, Clip, ClipConfig
from data.errors import BadInput
from data.schema import AgentType, Scene
from data.world import View, World, look, prepare, view

# Real logs rarely say; the shares are those of simulated worlds (data.sumo).
_WEATHER_SHARES, _LIGHT_SHARES = (0.55, 0.25, 0.10, 0.10), (0.60, 0.15, 0.25)
_DRIVERS = (AgentType.CAR, AgentType.TRUCK, AgentType.BUS, AgentType.SERVICE)
_MOVING = 1.0  # m/s, at some frame of a clip
_STANDING_SHARE = 0.15  # of the clips, at most, show an ego that does not move
_SKY = PIXEL_CLASSES.index("sky")


def clips_of(scene: Scene, config: ClipConfig, count: int, seed: int, domain: int) -> list[Clip]:
  """At most `count` clips of a scene, at starts spread over it and by different drivers.

  The same seed and scene give the same bytes. `domain` is the clips' metadata; their number of the scene is known when
  they are written. Raises BadInput when the scene's frames do not divide a step.
  """
  stride = frame_stride(scene, config)
  rng = np.random.default_rng([seed, zlib.crc32(scene.metadata.scene_id.encode())])
  weather = scene.metadata.weather or str(rng.choice(WEATHERS, p=_WEATHER_SHARES))
  light = scene.metadata.light or str(rng.choice(LIGHTS, p=_LIGHT_SHARES))
  found = drives(scene, config, count, stride, rng)
  if not found:
    return []
  world = prepare(scene)
  lines = labels.polylines(world)
  made = []
  for start, ego in found:
    clip = _clip(
      world, lines, config, start + stride * np.arange(config.steps), ego, stride, (weather, light), rng
    )
    for name, value in (
      ("scene", 0), ("domain", domain), ("weather", WEATHERS.index(weather)), ("light", LIGHTS.index(light)),
    ):  # fmt: skip
      clip[name] = np.asarray(value, config.spec[name][1])
    made.append(clip)
  return made


def frame_stride(scene: Scene, config: ClipConfig) -> int:
  """Frames of the scene per step of a clip."""
  stride = round(config.step_seconds / scene.metadata.dt)
  if stride < 1 or abs(stride * scene.metadata.dt - config.step_seconds) > 1e-6:
    what = f"metadata.dt {scene.metadata.dt} s does not divide a step of {config.step_seconds} s"
    raise BadInput(what, scene.metadata.scene_id, "choose a multiple of the log's frame period")
  return stride


def drives(scene: Scene, config: ClipConfig, count: int, stride: int, rng) -> list[tuple[int, int]]:
  """(first frame, ego) of clips: egos drive, are valid throughout the clip and one step beyond, and mostly move."""
  span = stride * config.steps  # the step beyond included
  last = len(scene.valid_TxA) - span
  if last <= 0:
    return []
  starts = np.unique(np.linspace(0, last - 1, count).astype(int))
  driver = np.isin(scene.type_A, _DRIVERS)
  found, taken = [], set()
  for start in starts:
    frames = start + stride * np.arange(config.steps + 1)
    eligible = driver & scene.valid_TxA[frames].all(0)
    speed = np.hypot(scene.velocity_TxAx2[frames, :, 0], scene.velocity_TxAx2[frames, :, 1]).max(0)
    moving, standing = (np.flatnonzero(eligible & paced) for paced in (speed > _MOVING, speed <= _MOVING))
    pool = standing if rng.random() < _STANDING_SHARE and len(standing) else moving
    fresh = [a for a in pool if a not in taken]
    if len(pool):
      ego = int(rng.choice(fresh or pool))
      taken.add(ego)
      found.append((int(start), ego))
  return found


def _clip(world: World, lines, config: ClipConfig, frames, ego: int, stride: int, air, rng) -> Clip:
  scene, spec = world.scene, config.spec
  clip = labels.agents(scene, config, ego, frames, stride) | labels.drive(scene, config, ego, frames, stride)
  clip["rare"] = np.asarray(labels.rare(scene, config, clip, ego, frames, stride), np.uint8)
  per_frame = []
  for t, frame in enumerate(frames):
    seen_from = view(world, int(frame), ego)
    arrays, met = _sense(seen_from, config, air, rng)
    arrays["raster_TxHxWxC"], arrays["cells_TxHxW"] = bev.draw(seen_from, ego, config)
    arrays |= labels.elements(lines, seen_from, config)
    seen = np.isin(clip["agent_K"], met) if config.cameras or config.lidar else True
    arrays["visible_TxK"] = clip["present_TxK"][t] & seen
    per_frame.append(arrays)
  for name in per_frame[0]:
    clip[name] = np.stack([arrays[name] for arrays in per_frame]).astype(spec[name][1])
  return clip


def _sense(seen_from: View, config: ClipConfig, air, rng) -> tuple[Clip, np.ndarray]:
  """Images and points of one frame, and the agents that a pixel or an echo lies on."""
  weather, light = air
  size = (config.image_height, config.image_width)
  images, classes, met = [], [], [np.zeros(0, np.int64)]
  for camera_rays, origin in zip(config.rays_CxHxWx3, config.origins_Cx3, strict=True):
    rays = camera_rays.reshape(-1, 3)
    seen = look(seen_from, origin, rays, _SKY)
    images.append(camera.colours(seen, seen_from, origin, rays, weather, light, rng).reshape(*size, 3))
    classes.append(seen.class_R.reshape(size))
    met.append(seen_from.agent_N[seen.box_R[seen.box_R >= 0]])
  points, echo, kinds = np.zeros((0, 4)), np.zeros(0, bool), np.zeros(0, np.uint8)
  if config.lidar:
    rays = rigs.lidar_rays(config.lidar, config.beams, config.azimuths)
    seen = look(seen_from, np.asarray(config.lidar.position, np.float32), rays, _SKY)
    points, echo = lidar.returns(seen, config.lidar, rays, weather, rng)
    kinds = np.where(echo, seen.class_R, 0)
    met.append(seen_from.agent_N[seen.box_R[echo & (seen.box_R >= 0)]])
  arrays = {
    "images_TxCxHxWx3": np.stack(images) if images else np.zeros((0, *size, 3)),
    "pixel_class_TxCxHxW": np.stack(classes) if classes else np.zeros((0, *size)),
    "points_TxPx4": points, "echo_TxP": echo, "point_class_TxP": kinds,
  }  # fmt: skip
  met_agents = np.unique(np.concatenate(met))
  return arrays, met_agents[met_agents >= 0]
