"""Colours of what camera rays met: surfaces by class, faces by the sun, then weather and light.

Colour = albedo * (ambient + sun * max(n . s, 0) + headlights) + glow, mixed with the air's colour by the share
1 - exp(-distance / visibility) of light that the air scatters (H. Koschmieder, 1924), then sensor noise. Colours are
linear RGB in [0, 1].
"""

import dataclasses

import numpy as np

from data.clips import PIXEL_CLASSES
from data.raycast import GROUND
from data.schema import Signal
from data.world import Seen, View

_ALBEDO = {
  "off_road": (0.34, 0.42, 0.24), "road": (0.30, 0.30, 0.32), "marking": (0.92, 0.92, 0.88),
  "crossing": (0.62, 0.62, 0.60), "sidewalk": (0.56, 0.53, 0.50), "bike_lane": (0.50, 0.30, 0.26),
  "building": (0.60, 0.52, 0.46), "vehicle": (0.6, 0.6, 0.6), "large_vehicle": (0.75, 0.73, 0.70),
  "two_wheeler": (0.25, 0.35, 0.55), "pedestrian": (0.75, 0.45, 0.25), "pole": (0.35, 0.36, 0.38),
  "sky": (0.0, 0.0, 0.0),
}  # fmt: skip
_PALETTE = np.array([_ALBEDO[name] for name in PIXEL_CLASSES], np.float32)
_PAINTS = np.array(
  [(0.85, 0.85, 0.86), (0.12, 0.12, 0.13), (0.55, 0.57, 0.60), (0.65, 0.10, 0.10), (0.12, 0.22, 0.55),
   (0.30, 0.33, 0.28), (0.75, 0.70, 0.55)], np.float32,
)  # fmt: skip
_SIGNALS = np.array(
  [(0, 0, 0), (0.1, 0.9, 0.3), (0.1, 0.9, 0.3), (1.0, 0.75, 0.1), (1.0, 0.1, 0.08)], np.float32
)
_SUN = np.array([0.45, 0.35, 0.82], np.float32)  # towards the sun, in the scene frame
_GLASS, _TYRE = 0.12, 0.06  # albedo of windows and of what is below a vehicle's body
_SNOWED = ("off_road", "sidewalk", "building", "road")
_SNOW_COVER = (0.85, 0.7, 0.4, 0.35)


@dataclasses.dataclass(frozen=True)
class Light:
  ambient: float
  sun: float
  lamps: float  # of vehicles and streets
  tint: tuple[float, float, float]
  sky: tuple[float, float, float]
  noise: float


@dataclasses.dataclass(frozen=True)
class Weather:
  visibility: float  # m
  sun: float  # share of the sun that comes through
  specks: float  # share of pixels crossed by drops or flakes
  grey: float  # how far the sky is overcast


LIGHTS = {
  "day": Light(0.55, 0.60, 0.0, (1.0, 1.0, 1.0), (0.55, 0.72, 0.95), 0.012),
  "dusk": Light(0.34, 0.30, 0.35, (1.0, 0.82, 0.68), (0.72, 0.50, 0.42), 0.02),
  "night": Light(0.11, 0.0, 0.9, (0.75, 0.82, 1.0), (0.02, 0.025, 0.05), 0.03),
}
WEATHERS = {
  "clear": Weather(500.0, 1.0, 0.0, 0.0),
  "rain": Weather(130.0, 0.35, 0.03, 0.8),
  "snow": Weather(90.0, 0.4, 0.05, 0.9),
  "fog": Weather(28.0, 0.25, 0.0, 1.0),
}


def colours(
  seen: Seen, seen_from: View, origin_3, rays_Rx3, weather: str, light: str, rng: np.random.Generator
) -> np.ndarray:
  """uint8 [R, 3]: RGB of what the rays met."""
  lamp, air = LIGHTS[light], WEATHERS[weather]
  albedo, glow = _materials(seen, seen_from, weather, lamp)
  cos, sin = np.cos(seen_from.pose[2]), np.sin(seen_from.pose[2])
  sun = np.array([cos * _SUN[0] + sin * _SUN[1], cos * _SUN[1] - sin * _SUN[0], _SUN[2]], np.float32)
  facing = np.maximum(seen.normal_Rx3 @ sun, 0.0)
  beam = _headlights(seen.point_Rx3) * lamp.lamps
  lit = (lamp.ambient + 0.15 * seen.normal_Rx3[:, 2] * lamp.ambient + lamp.sun * air.sun * facing)[:, None]
  colour = albedo * (lit * np.asarray(lamp.tint, np.float32) + beam[:, None]) + glow
  overcast = float(np.mean(lamp.sky))
  sky = np.asarray(lamp.sky, np.float32) * (1 - air.grey) + overcast * air.grey
  height = np.clip(rays_Rx3[:, 2:], 0, 1)
  above = sky * (1 - 0.35 * height) + 0.25 * (1 - height) ** 8 * overcast
  nothing = ~np.isfinite(seen.distance_R)
  colour[nothing] = above[nothing]
  share = 1 - np.exp(-np.where(nothing, 0, seen.distance_R) / air.visibility)
  haze = sky * 0.9 + 0.1 * overcast
  colour += share[:, None] * (haze - colour)
  specks = rng.random(len(colour)) < air.specks
  colour[specks] += (0.5 if weather == "snow" else 0.25) * max(overcast, 0.15)
  colour += lamp.noise * rng.standard_normal(colour.shape, np.float32)
  return (255 * np.clip(colour, 0, 1) ** 0.8 + 0.5).astype(np.uint8)


def _materials(seen: Seen, seen_from: View, weather: str, lamp: Light) -> tuple[np.ndarray, np.ndarray]:
  """Albedo and glow [R, 3]."""
  albedo = _PALETTE[seen.class_R].copy()
  glow = np.zeros_like(albedo)
  flat, solid = np.flatnonzero(seen.box_R == GROUND), np.flatnonzero(seen.box_R >= 0)
  cell = np.floor(seen.ground_Rx2[flat] * 2).astype(np.int64)  # half a metre of even tone
  mottled = ((cell[:, 0] * 73856093 ^ cell[:, 1] * 19349663) % 97).astype(np.float32) / 97
  albedo[flat] *= (0.88 + 0.24 * mottled)[:, None]
  striped = flat[seen.class_R[flat] == PIXEL_CLASSES.index("crossing")]
  stripe = np.floor(seen.ground_Rx2[striped].sum(-1) / 0.7).astype(np.int64) % 2
  albedo[striped] = np.where(
    stripe[:, None] > 0, _PALETTE[PIXEL_CLASSES.index("marking")], albedo[striped] * 0.6
  )
  if len(solid):
    albedo[solid], glow[solid] = _faces(seen, seen_from, solid, lamp)
  if weather == "snow":
    for name, cover in zip(_SNOWED, _SNOW_COVER, strict=True):
      rows = seen.class_R == PIXEL_CLASSES.index(name)
      albedo[rows] += cover * (0.92 - albedo[rows]) * (0.4 + 0.6 * seen.normal_Rx3[rows, 2:])
  elif weather == "rain":
    wet = flat[seen.class_R[flat] == PIXEL_CLASSES.index("road")]
    albedo[wet] *= 0.7
  return albedo, glow


def _faces(seen: Seen, seen_from: View, rows: np.ndarray, lamp: Light) -> tuple[np.ndarray, np.ndarray]:
  """Albedo and glow of box faces: paint, windows, tyres, head and tail lamps, storeys, signals."""
  box = seen_from.boxes_Nx7[seen.box_R[rows]]
  kind, tone = seen.class_R[rows], seen_from.tone_N[seen.box_R[rows]]
  offset = seen.point_Rx3[rows] - box[:, :3]
  cos, sin = np.cos(box[:, 6]), np.sin(box[:, 6])
  along = (cos * offset[:, 0] + sin * offset[:, 1]) / (0.5 * box[:, 3])
  across = (cos * offset[:, 1] - sin * offset[:, 0]) / (0.5 * box[:, 4])
  up = offset[:, 2] / box[:, 5] + 0.5
  albedo = _PALETTE[kind].copy()
  vehicle = (kind == PIXEL_CLASSES.index("vehicle")) | (kind == PIXEL_CLASSES.index("large_vehicle"))
  albedo[vehicle] = _PAINTS[(tone[vehicle] * len(_PAINTS)).astype(int)]
  person = (kind == PIXEL_CLASSES.index("pedestrian")) | (kind == PIXEL_CLASSES.index("two_wheeler"))
  albedo[person] *= (0.6 + 0.8 * tone[person])[:, None]
  albedo[vehicle & (up < 0.22)] = _TYRE
  albedo[vehicle & (up > 0.60) & (up < 0.93) & (np.abs(along) < 0.999)] = _GLASS
  albedo[(kind == PIXEL_CLASSES.index("vehicle")) & (up > 0.60) & (up < 0.93)] = _GLASS
  building = kind == PIXEL_CLASSES.index("building")
  albedo[building] *= (0.6 + 0.7 * tone[building])[:, None]
  z, side = seen.point_Rx3[rows, 2], offset[:, 0] + offset[:, 1]
  window = (
    building & (z % 3.2 > 1.2) & (z % 3.2 < 2.4) & (side % 2.6 > 1.1) & (seen.normal_Rx3[rows, 2] < 0.5)
  )
  albedo[window] = _GLASS
  glow = np.zeros_like(albedo)
  glow[window & ((np.floor(z / 3.2) * 7 + np.floor(side / 2.6) * 3 + tone * 10) % 3 < 1)] = (
    lamp.lamps * np.array([0.5, 0.42, 0.25])
  )
  lamps = vehicle & (up > 0.3) & (up < 0.58) & (np.abs(across) > 0.5)
  glow[lamps & (along < -0.99)] = np.array([0.35, 0.0, 0.0]) + lamp.lamps * np.array([0.5, 0.05, 0.04])
  glow[lamps & (along > 0.99)] = np.array([0.15, 0.15, 0.13]) + lamp.lamps * np.array([0.75, 0.75, 0.65])
  signal = seen_from.signal_N[seen.box_R[rows]]
  shown = (signal != Signal.NONE) & (along < -0.99)  # a light is seen from behind its stop line
  albedo[signal != Signal.NONE] = _TYRE
  glow[shown] = _SIGNALS[signal[shown]]
  return albedo, glow


def _headlights(point_Rx3: np.ndarray) -> np.ndarray:
  """[R] in [0, 1]: the ego's own light, ahead of it and fading over 30 m."""
  x, y = point_Rx3[:, 0], point_Rx3[:, 1]
  bearing = np.arctan2(np.abs(y), np.maximum(x, 1e-3))
  return np.exp(-((bearing / 0.45) ** 2) - np.maximum(x, 0) / 22.0) * (x > 0)
