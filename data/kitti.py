"""KITTI's images, LiDAR sweeps and poses, in the frames and shapes of a clip (data/clips.py).

A. Geiger et al., "Vision meets Robotics: The KITTI Dataset", IJRR 2013: 10 Hz; LiDAR in x forward, y left, z up,
1.73 m above the ground; poses of the left gray camera with x right, y down, z forward. Frames without a calibration
file are sampled with the focal length that KITTI's cameras have nominally; nothing is projected from one sensor into
the other.
"""

import math
import pathlib

import numpy as np

from data import motion
from data.clips import EGO_STATES, Clip, ClipConfig
from data.errors import BadInput
from data.rigs import Camera, Lidar, camera_rays

FRAME_SECONDS = 0.1
LIDAR_HEIGHT = 1.73  # m above the ground
FOCAL = 720.0  # pixels, nominal, of images without a calibration file
REMEDY = "give a directory as KITTI publishes it"
_AXES = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # camera to ego axes
_OVERSAMPLE = 4  # rays along each side of a pixel: a large image is averaged, not picked from


def read_image(path: pathlib.Path) -> np.ndarray:
  """uint8 [H, W, 3]; a gray image has three equal channels. BadInput when it is no 8-bit image."""
  from PIL import Image, UnidentifiedImageError

  try:
    with Image.open(path) as image:
      if image.mode not in ("L", "RGB"):
        raise BadInput(f"is an image of mode {image.mode}", path, "give 8-bit gray or RGB")
      return np.asarray(image.convert("RGB"))
  except FileNotFoundError:
    raise BadInput("no such file", path, REMEDY) from None
  except (UnidentifiedImageError, OSError, SyntaxError) as error:  # a damaged PNG raises the last
    raise BadInput(f"not readable as an image ({error})", path, "restore the file") from None


def read_sweep(path: pathlib.Path) -> np.ndarray:
  """float32 [N, 4]: x, y, z in m from the LiDAR, reflectance in [0, 1]."""
  if not path.is_file():
    raise BadInput("no such file", path, REMEDY)
  values = np.fromfile(path, "<f4")
  if values.size == 0 or path.stat().st_size % 16 or not np.isfinite(values).all():
    raise BadInput(
      f"{path.stat().st_size} bytes are no sweep of finite x, y, z, reflectance", path, "restore it"
    )
  return values.reshape(-1, 4)


def read_poses(path: pathlib.Path) -> np.ndarray:
  """float64 [N, 4, 4]: the camera's pose in the frame of the first one, both with x forward, y left, z up."""
  try:
    rows = np.loadtxt(path, ndmin=2)
  except (OSError, ValueError) as error:
    raise BadInput(f"not readable as poses ({error})", path, REMEDY) from None
  if rows.shape[1:] != (12,) or not np.isfinite(rows).all():
    raise BadInput(f"holds rows of {rows.shape[-1]} numbers, not of 12 finite ones", path, REMEDY)
  pose = np.concatenate([rows.reshape(-1, 3, 4), np.broadcast_to([0.0, 0, 0, 1], (len(rows), 1, 4))], 1)
  return _AXES @ pose @ _AXES.T


def ground_track(pose_Nx4x4: np.ndarray) -> np.ndarray:
  """float64 [N, 3]: x, y (m) and yaw (rad, continuous) of poses."""
  yaw = np.unwrap(np.arctan2(pose_Nx4x4[:, 1, 0], pose_Nx4x4[:, 0, 0]))
  return np.concatenate([pose_Nx4x4[:, :2, 3], yaw[:, None]], -1)


def ego_states(track_Nx3: np.ndarray, dt: float) -> np.ndarray:
  """float32 [N, S] in the order of EGO_STATES, by central differences over `dt` s."""
  change = np.gradient(track_Nx3, dt, axis=0)
  heading = np.stack([np.cos(track_Nx3[:, 2]), np.sin(track_Nx3[:, 2])], -1)
  speed, turn = (change[:, :2] * heading).sum(-1), change[:, 2]
  states = {
    "speed": speed, "yaw_rate": turn, "acceleration": np.gradient(speed, dt), "lateral_acceleration": speed * turn,
  }  # fmt: skip
  return np.stack([states[name] for name in EGO_STATES], -1).astype(np.float32)


def see(
  image_HxWx3: np.ndarray, focal: float, centre: tuple[float, float], camera: Camera, height: int, width: int
):
  """uint8 [height, width, 3]: what `camera` sees, from an image that looks straight ahead from the same place.

  Args: focal, centre: pixels; centre is column and row. Directions outside the image are black.
  """
  fine = camera_rays(camera, height * _OVERSAMPLE, width * _OVERSAMPLE).astype(np.float64)
  forward, left, up = np.moveaxis(fine, -1, 0)
  ahead = np.where(forward > 1e-6, forward, np.nan)
  with np.errstate(invalid="ignore"):
    column = np.floor(centre[0] - focal * left / ahead)
    row = np.floor(centre[1] - focal * up / ahead)
    rows, columns = image_HxWx3.shape[:2]
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
  at = tuple(np.where(inside, index, 0).astype(int) for index in (row, column))
  seen = np.where(inside[..., None], image_HxWx3[at], 0).astype(np.float64)
  blocks = seen.reshape(height, _OVERSAMPLE, width, _OVERSAMPLE, 3)
  return np.round(blocks.mean((1, 3))).astype(np.uint8)


def sweep_points(
  sweep_Nx4: np.ndarray, lidar: Lidar, beams: int, azimuths: int
) -> tuple[np.ndarray, np.ndarray]:
  """A sweep as `lidar` would give it: points float16 [P, 4] in the ego frame and echo bool [P], P = beams * azimuths.

  Each ray (data.rigs.lidar_rays) takes the nearest point whose direction is closest to it; rays without one, and
  points beyond its reach or between no two beams, are left out.
  """
  place = sweep_Nx4[:, :3].astype(np.float64) + [0.0, 0.0, LIDAR_HEIGHT]
  away = place - lidar.position
  flat = np.hypot(away[:, 0], away[:, 1])
  distance = np.hypot(flat, away[:, 2])
  beam = np.round(
    (np.arctan2(away[:, 2], flat) - lidar.lowest) / (lidar.highest - lidar.lowest) * (beams - 1)
  )
  azimuth = np.round(np.arctan2(away[:, 1], away[:, 0]) / (2 * math.pi) * azimuths) % azimuths
  kept = np.flatnonzero((beam >= 0) & (beam < beams) & (distance <= lidar.reach) & (distance > 0))
  kept = kept[(-distance[kept]).argsort(kind="stable")]  # the nearest is written last, and stays
  ray = (beam[kept] * azimuths + azimuth[kept]).astype(int)
  points, echo = np.zeros((beams * azimuths, 4), np.float16), np.zeros(beams * azimuths, bool)
  points[ray] = np.concatenate([place, sweep_Nx4[:, 3:]], -1)[kept]
  echo[ray] = True
  return points, echo


def paired_clips(directory: pathlib.Path, config: ClipConfig) -> list[Clip]:
  """The clips of image_02/ and velodyne/, frame by frame: no poses and no labels, whose masks are False.

  Only the camera that looks ahead sees something. Raises BadInput when images and sweeps do not match by name.
  """
  images, sweeps = sorted(directory.glob("image_02/*.png")), sorted(directory.glob("velodyne/*.bin"))
  if not images or [path.stem for path in images] != [path.stem for path in sweeps]:
    what = f"{len(images)} images in image_02 and {len(sweeps)} sweeps in velodyne do not match by name"
    raise BadInput(what, directory, REMEDY)
  pictures = [read_image(path) for path in images]
  height, width = pictures[0].shape[:2]
  return [
    _with_sensors(
      _empty(config),
      [pictures[i] for i in range(start, start + config.steps)],
      FOCAL,
      (width / 2, height / 2),
      [read_sweep(sweeps[i]) for i in range(start, start + config.steps)],
      config,
    )
    for start in range(len(images) - config.steps + 1)
  ]


def sequence_clips(directory: pathlib.Path, config: ClipConfig) -> list[Clip]:
  """The clips of an odometry sequence (image_l/, calib.txt, poses.txt), `config.step_seconds` between frames.

  Without LiDAR; the ego's states, future and actions come from the poses. Raises BadInput when the files do not
  match, or the step is no multiple of 0.1 s.
  """
  stride = round(config.step_seconds / FRAME_SECONDS)
  if stride < 1 or abs(stride * FRAME_SECONDS - config.step_seconds) > 1e-6:
    raise BadInput(f"step_seconds {config.step_seconds} is no multiple of 0.1 s", directory, "change it")
  images, pose = sorted(directory.glob("image_l/*.png")), read_poses(directory / "poses.txt")
  if not images or len(images) != len(pose):
    raise BadInput(f"{len(images)} images and {len(pose)} poses", directory, REMEDY)
  projection = np.loadtxt(directory / "calib.txt").reshape(-1, 3, 4)[0]
  track, span = ground_track(pose), config.steps * stride
  clips = []
  for start in range(0, len(images) - span + 1, span):
    frames = start + stride * np.arange(config.steps)
    clip = _with_motion(_empty(config), track, frames, stride, config)
    pictures = [read_image(images[i]) for i in frames]
    centre = (projection[0, 2], projection[1, 2])
    clips.append(_with_sensors(clip, pictures, projection[0, 0], centre, [], config))
  return clips


def _empty(config: ClipConfig) -> Clip:
  """Nothing seen and nothing labelled."""
  clip: Clip = {name: np.zeros(shape, dtype) for name, (shape, dtype) in config.spec.items()}
  clip["agent_K"][:] = -1
  return clip


def _with_sensors(clip, pictures, focal, centre, sweeps, config: ClipConfig) -> Clip:
  """Fills in the camera that looks ahead, and the LiDAR."""
  ahead = [i for i, camera in enumerate(config.cameras) if camera.yaw == 0]
  for t, picture in enumerate(pictures):
    for i in ahead:
      size = (config.image_height, config.image_width)
      clip["images_TxCxHxWx3"][t, i] = see(picture, focal, centre, config.cameras[i], *size)
  for t, sweep in enumerate(sweeps):
    if config.lidar:
      found = sweep_points(sweep, config.lidar, config.beams, config.azimuths)
      clip["points_TxPx4"][t], clip["echo_TxP"][t] = found
  return clip


def _with_motion(clip, track_Nx3, frames, stride: int, config: ClipConfig) -> Clip:
  """Fills in what the poses tell: ego states, place, future positions and actions."""
  dt = config.step_seconds
  clip["ego_TxS"][:] = ego_states(track_Nx3, FRAME_SECONDS)[frames]
  clip["place_Tx3"][:] = track_Nx3[frames]
  # The log at the rate of the clip, from its first frame to the end of the recording.
  log = track_Nx3[frames[0] :: stride]
  velocity = np.gradient(log[:, :2], dt, axis=0)[:, None]
  moves = motion.encode(log[:, None, :2], log[:, None, 2], velocity, np.ones((len(log), 1), bool), dt)
  for t in range(config.steps):
    x, y, yaw = log[t]
    later = log[t + 1 : t + 1 + config.futures, :2] - [x, y]
    turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    clip["future_TxFx2"][t, : len(later)] = later @ turn
    clip["future_mask_TxF"][t, : len(later)] = True
    known = moves.mask_TxA[t : t + config.futures, 0]
    clip["actions_TxF"][t, : len(known)] = moves.tokens_TxA[t : t + len(known), 0] * known
    clip["actions_mask_TxF"][t, : len(known)] = known
  return clip
