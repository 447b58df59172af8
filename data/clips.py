"""Clips: training records with sensors, and what each of their arrays means.

A clip is `steps` frames of one vehicle's drive, `step_seconds` apart. Everything is in the ego frame of its own frame
(x forward, y left, z up, metres; origin on the ground below the centre of the ego). Cell [i, j] of the grid covers
x from i * cell_m - rear_m and y from j * cell_m - grid * cell_m / 2, each over cell_m. Axes: T frames, C cameras (or
raster channels), H x W pixels (or cells), P LiDAR points (or points of a map element), K agents, F future steps,
M map elements, S ego state.
"""

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from data import motion, records, rigs

# What fills a cell. The last four are agents, in the order of BOX_CLASSES.
CELL_CLASSES = (
  "off_road", "road", "marking", "crossing", "sidewalk", "bike_lane", "building",
  "vehicle", "large_vehicle", "two_wheeler", "pedestrian",
)  # fmt: skip
# Of pixels and of LiDAR points; those of cells keep their index.
PIXEL_CLASSES = (*CELL_CLASSES, "pole", "sky")
BOX_CLASSES = CELL_CLASSES[7:]
FIRST_BOX_CLASS = 7  # cell class of an agent = this + its box class
ELEMENT_CLASSES = ("centreline", "divider", "boundary", "crossing")
RASTER_CHANNELS = (
  "road", "junction", "bike_lane", "sidewalk", "crossing", "marking", "go", "stop",
  "vehicle", "vulnerable", "velocity_x", "velocity_y", "route",
)  # fmt: skip
VELOCITY_ZERO, VELOCITY_SCALE = 128, 4.0  # velocity channels: 128 + 4 v, v in m/s relative to the ground
EGO_STATES = ("speed", "yaw_rate", "acceleration", "lateral_acceleration")  # m/s, rad/s, m/s^2, m/s^2
WEATHERS = ("clear", "rain", "snow", "fog")
LIGHTS = ("day", "dusk", "night")
RARE = ("none", "hard_brake", "sharp_turn", "close_vulnerable")  # the first of them that holds

Clip = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ClipConfig:
  """The shapes of a clip. Sensors that the rig does not have give arrays with an axis of length zero.

  Attributes:
    rig: name in data.rigs.RIGS. steps: frames. step_seconds: between frames, and between future steps.
    image_height, image_width: pixels of every camera. beams, azimuths: of the LiDAR.
    grid: cells along each side. cell_m: edge of a cell. rear_m: how far the grid reaches behind the ego.
    boxes: agent slots. futures: future steps. elements: map polylines. element_points: points of each.
  """

  kind: ClassVar[str] = "clips"

  rig: str
  steps: int
  step_seconds: float
  image_height: int
  image_width: int
  beams: int
  azimuths: int
  grid: int
  cell_m: float
  rear_m: float
  boxes: int
  futures: int
  elements: int
  element_points: int

  @property
  def cameras(self) -> tuple[rigs.Camera, ...]:
    return rigs.rig(self.rig).cameras

  @property
  def lidar(self) -> rigs.Lidar | None:
    return rigs.rig(self.rig).lidar

  @property
  def points(self) -> int:
    """LiDAR rays, and so points, of a frame."""
    return self.beams * self.azimuths if self.lidar else 0

  @functools.cached_property
  def rays_CxHxWx3(self) -> np.ndarray:
    """float32 unit directions of the pixels in the ego frame."""
    size = (self.image_height, self.image_width)
    rays = [rigs.camera_rays(camera, *size) for camera in self.cameras]
    return np.stack(rays) if rays else np.zeros((0, *size, 3), np.float32)

  @functools.cached_property
  def origins_Cx3(self) -> np.ndarray:
    """float32 m, where the rays of each camera start in the ego frame."""
    return np.array([camera.position for camera in self.cameras], np.float32).reshape(-1, 3)

  @functools.cached_property
  def intrinsics_Cx3x3(self) -> np.ndarray:
    """float32 pinhole matrices, see data.rigs.intrinsics."""
    matrices = [rigs.intrinsics(c, self.image_height, self.image_width) for c in self.cameras]
    return np.array(matrices, np.float32).reshape(-1, 3, 3)

  @functools.cached_property
  def centres_HxWx2(self) -> np.ndarray:
    """float32 m, x and y of the centre of every cell in the ego frame."""
    along = (np.arange(self.grid) + 0.5) * self.cell_m
    x, y = np.meshgrid(along - self.rear_m, along - 0.5 * self.grid * self.cell_m, indexing="ij")
    return np.stack([x, y], -1).astype(np.float32)

  def tokens(self, record: Clip) -> int:
    """Cells of a clip, all of them: what a model over raw BEV tokens reads."""
    return record["cells_TxHxW"].size

  @property
  def spec(self) -> records.Spec:
    """Every array of a clip: name to (shape, dtype)."""
    t, c, p, g, k, f = (
      self.steps, len(self.cameras), self.points, self.grid, self.boxes, self.futures,
    )  # fmt: skip
    m, h, w = self.elements, self.image_height, self.image_width
    return {
      "images_TxCxHxWx3": ((t, c, h, w, 3), np.uint8),
      "pixel_class_TxCxHxW": ((t, c, h, w), np.uint8),  # index into PIXEL_CLASSES
      "points_TxPx4": ((t, p, 4), np.float16),  # x, y, z, intensity in [0, 1]; zero without an echo
      "echo_TxP": ((t, p), np.bool_),
      "point_class_TxP": ((t, p), np.uint8),  # index into PIXEL_CLASSES
      "raster_TxHxWxC": ((t, g, g, len(RASTER_CHANNELS)), np.uint8),  # 0 or 255 but for the velocities
      "cells_TxHxW": ((t, g, g), np.uint8),  # index into CELL_CLASSES
      "boxes_TxKx7": ((t, k, 7), np.float32),  # centre x, y, z, length, width, height, yaw in (-pi, pi]
      "present_TxK": ((t, k), np.bool_),  # the agent is there, with its centre inside the grid
      # The same, and a pixel or point of the rig lies on it; all, in a rig without sensors.
      "visible_TxK": ((t, k), np.bool_),
      "class_K": ((k,), np.uint8),  # index into BOX_CLASSES
      "agent_K": ((k,), np.int32),  # column in the scene, -1: empty slot
      "futures_TxKxFx2": ((t, k, f, 2), np.float32),
      "futures_mask_TxKxF": ((t, k, f), np.bool_),
      "elements_TxMxPx2": ((t, m, self.element_points, 2), np.float32),  # nearest first
      "element_class_TxM": ((t, m), np.uint8),  # index into ELEMENT_CLASSES
      "element_mask_TxM": ((t, m), np.bool_),
      "ego_TxS": ((t, len(EGO_STATES)), np.float32),
      "future_TxFx2": ((t, f, 2), np.float32),
      "future_mask_TxF": ((t, f), np.bool_),
      "actions_TxF": ((t, f), np.uint8),  # motion tokens (data.motion), the move from t + f to t + f + 1
      "actions_mask_TxF": ((t, f), np.bool_),
      "place_Tx3": ((t, 3), np.float32),  # ego x, y, yaw in the scene
      "scene": ((), np.int32),  # which records belong together, see data.datasets: never a model's input
      "domain": ((), np.uint8),  # index into the dataset's domains
      "weather": ((), np.uint8),  # index into WEATHERS
      "light": ((), np.uint8),  # index into LIGHTS
      "rare": ((), np.uint8),  # index into RARE
    }

  @property
  def parts(self) -> dict[str, records.Spec]:
    """Kind of record to the arrays it holds."""
    return {"clips": self.spec}


assert motion.VOCABULARY <= 256  # actions are uint8
