"""LiDAR returns of what its rays met: range noise, drop-outs and intensity, by material and weather.

A ray that meets something within reach comes back with probability (1 - lost) exp(-2 r / L), with r the range and L the
attenuation length of the air; its intensity is reflectivity * (0.2 + 0.8 cos(incidence)) * exp(-2 r / L).
"""

import numpy as np

from data.clips import PIXEL_CLASSES
from data.rigs import Lidar
from data.world import Seen

NOISE, NOISE_LIMIT = 0.02, 0.06  # m: standard deviation of the range, and its largest error
_REFLECTIVITY = {
  "off_road": 0.35, "road": 0.15, "marking": 0.75, "crossing": 0.45, "sidewalk": 0.30, "bike_lane": 0.25,
  "building": 0.45, "vehicle": 0.60, "large_vehicle": 0.55, "two_wheeler": 0.40, "pedestrian": 0.30, "pole": 0.50,
  "sky": 0.0,
}  # fmt: skip
_OF_CLASS = np.array([_REFLECTIVITY[name] for name in PIXEL_CLASSES], np.float32)
_LOST = {"clear": 0.02, "rain": 0.08, "snow": 0.12, "fog": 0.05}
_ATTENUATION = {"clear": 1e4, "rain": 400.0, "snow": 200.0, "fog": 70.0}  # m


def returns(
  seen: Seen, lidar: Lidar, rays_Rx3: np.ndarray, weather: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Points float32 [R, 4] (x, y, z, intensity in [0, 1]; zero without an echo) and echo bool [R]."""
  range_R = np.where(np.isfinite(seen.distance_R), seen.distance_R, 1e9)
  through = np.exp(-2 * range_R / _ATTENUATION[weather])
  echo = (range_R < lidar.reach) & (rng.random(len(range_R)) < (1 - _LOST[weather]) * through)
  error = np.clip(NOISE * rng.standard_normal(len(range_R)), -NOISE_LIMIT, NOISE_LIMIT)
  incidence = np.abs((seen.normal_Rx3 * rays_Rx3).sum(-1))
  grain = 1 + 0.05 * rng.standard_normal(len(range_R))
  intensity = np.clip(_OF_CLASS[seen.class_R] * (0.2 + 0.8 * incidence) * through * grain, 0, 1)
  points = np.concatenate([seen.point_Rx3 + error[:, None] * rays_Rx3, intensity[:, None]], -1)
  return np.where(echo[:, None], points, 0).astype(np.float32), echo
