"""Rigs: where the cameras and the LiDAR of a vehicle are, and along which rays they look.

Ego frame: x forward, y left, z up, metres; origin on the ground below the centre of the vehicle's box. A camera is a
pinhole: with focal length f = (W / 2) / tan(fov / 2) pixels, the centre of the pixel in row v and column u looks along
(1, -(u + 1/2 - W/2) / f, -(v + 1/2 - H/2) / f), turned by the camera's pitch and then by its yaw.
"""

import dataclasses
import math

import numpy as np

from data.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Camera:
  """position: m. yaw: rad to the left of forward. pitch: rad downward. fov: rad, horizontal field of view."""

  name: str
  position: tuple[float, float, float]
  yaw: float
  pitch: float
  fov: float


@dataclasses.dataclass(frozen=True)
class Lidar:
  """position: m. lowest, highest: rad, elevation of the first and the last beam. reach: m."""

  position: tuple[float, float, float]
  lowest: float
  highest: float
  reach: float


@dataclasses.dataclass(frozen=True)
class Rig:
  cameras: tuple[Camera, ...]
  lidar: Lidar | None


def _camera(name: str, x: float, y: float, yaw_deg: float, fov_deg: float) -> Camera:
  return Camera(name, (x, y, 1.6), math.radians(yaw_deg), math.radians(6.0), math.radians(fov_deg))


_FRONT, _REAR = _camera("front", 1.2, 0.0, 0.0, 90.0), _camera("rear", -1.2, 0.0, 180.0, 90.0)
_LIDAR = Lidar((0.0, 0.0, 2.0), math.radians(-22.0), math.radians(3.0), 60.0)
_AROUND = tuple(
  _camera(name, 0.8 * math.cos(math.radians(yaw)), 0.6 * math.sin(math.radians(yaw)), yaw, 70.0)
  for name, yaw in (
    ("front", 0.0), ("front_left", 60.0), ("rear_left", 120.0),
    ("rear", 180.0), ("rear_right", -120.0), ("front_right", -60.0),
  )
)  # fmt: skip

RIGS = {
  "front": Rig((_FRONT,), None),
  "pair": Rig((_FRONT, _REAR), _LIDAR),
  "surround": Rig(_AROUND, _LIDAR),
  "lidar": Rig((), _LIDAR),
  "tracks": Rig((), None),  # the bird's eye view alone, from tracks and map
  # Left colour camera and Velodyne HDL-64E: A. Geiger et al., IJRR 2013.
  "kitti": Rig(
    (Camera("front", (0.3, 0.0, 1.65), 0.0, 0.0, math.radians(80.0)),),
    Lidar((0.0, 0.0, 1.73), math.radians(-24.8), math.radians(2.0), 80.0),
  ),
}


def rig(name: str) -> Rig:
  """The rig of that name; an unknown one raises BadInput."""
  if name not in RIGS:
    raise BadInput(f"unknown rig {name!r}", "rig", f"choose one of {', '.join(RIGS)}")
  return RIGS[name]


def rotation(camera: Camera) -> np.ndarray:
  """float64 [3, 3]: camera axes (forward, left, up) to the ego frame."""
  cos_y, sin_y = math.cos(camera.yaw), math.sin(camera.yaw)
  cos_p, sin_p = math.cos(camera.pitch), math.sin(camera.pitch)
  yaw = np.array([[cos_y, -sin_y, 0], [sin_y, cos_y, 0], [0, 0, 1]])
  pitch = np.array([[cos_p, 0, sin_p], [0, 1, 0], [-sin_p, 0, cos_p]])  # downward
  return yaw @ pitch


def intrinsics(camera: Camera, height: int, width: int) -> np.ndarray:
  """float64 [3, 3]: (right, down, forward) to (u, v, 1) times depth, pixel centres at half integers."""
  focal = 0.5 * width / math.tan(0.5 * camera.fov)
  return np.array([[focal, 0, 0.5 * width], [0, focal, 0.5 * height], [0, 0, 1]])


def camera_rays(camera: Camera, height: int, width: int) -> np.ndarray:
  """float32 [H, W, 3]: unit directions in the ego frame."""
  focal = intrinsics(camera, height, width)[0, 0]
  left = -(np.arange(width) + 0.5 - 0.5 * width) / focal
  up = -(np.arange(height) + 0.5 - 0.5 * height) / focal
  axes = np.stack(np.broadcast_arrays(1.0, left[None, :], up[:, None]), -1)
  rays = axes @ rotation(camera).T
  return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)


def project(camera: Camera, height: int, width: int, points_Nx3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Points in the ego frame to (pixel [N, 2] as row and column, inside [N]); the inverse of `camera_rays`."""
  forward, left, up = ((points_Nx3 - np.asarray(camera.position)) @ rotation(camera)).T
  focal = intrinsics(camera, height, width)[0, 0]
  depth = np.where(forward > 1e-6, forward, 1.0)
  place = np.stack([0.5 * height - focal * up / depth, 0.5 * width - focal * left / depth], -1)
  inside = (forward > 1e-6) & (place >= 0).all(-1) & (place < (height, width)).all(-1)
  return np.where(inside[:, None], np.floor(place), 0).astype(np.int64), inside


def lidar_rays(lidar: Lidar, beams: int, azimuths: int) -> np.ndarray:
  """float32 [beams * azimuths, 3]: unit directions in the ego frame, beam by beam, from forward to the left."""
  elevation = np.linspace(lidar.lowest, lidar.highest, beams)[:, None]
  azimuth = 2 * math.pi * np.arange(azimuths) / azimuths
  flat = np.cos(elevation)
  rays = np.stack(
    np.broadcast_arrays(flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)), axis=-1
  )
  return rays.reshape(-1, 3).astype(np.float32)
