"""What each sensor of a rig looks like to a model; every part counts its parameters and FLOPs, without JAX.

`width` is D, `tube` the frames of one step of the trunk. FLOPs are of the forward pass: 2 per multiply-add;
those of the stem are of products whose input is data.
"""

import dataclasses

RAY = 6  # origin and direction
RAY_BANDS = 4  # octaves of sines and cosines that a ray is spelled in
POINT_FEATURES = 9  # x, y, z, intensity; x, y, z from the mean of the pillar; x, y from its centre


def _whole(size: int, patch: int, what: str) -> int:
  if size % patch:
    raise ValueError(f"{what} {size} is no multiple of the patch, {patch}")
  return size // patch


@dataclasses.dataclass(frozen=True)
class CameraConfig:
  """cameras: of the rig; for counting, the weights serve any. height, width: pixels. patch: edge of a token."""

  cameras: int
  height: int
  width: int
  patch: int

  @property
  def patches(self) -> int:
    """Of one camera."""
    return _whole(self.height, self.patch, "height") * _whole(self.width, self.patch, "width")

  @property
  def places(self) -> int:
    return self.cameras * self.patches

  def param_count(self, width: int, tube: int) -> int:
    pixels = 3 * tube * self.patch**2
    return width * (pixels + 1 + 2 * RAY * RAY_BANDS + width)

  def flops_per_clip(self, width: int, tube: int, steps: int) -> int:
    return self.stem_flops_per_clip(width, tube, steps) + self.places * 2 * width**2

  def stem_flops_per_clip(self, width: int, tube: int, steps: int) -> int:
    rays = self.places * 2 * width * 2 * RAY * RAY_BANDS
    return rays + steps * self.places * 2 * width * 3 * tube * self.patch**2


@dataclasses.dataclass(frozen=True)
class GridConfig:
  """A grid of cells around the ego: cells along each side, and the edge of a patch that becomes one token.

  Cell [i, j] covers x from i cell_m - rear_m and y from j cell_m - half_m, each over cell_m, in metres.
  """

  cells: int
  patch: int
  cell_m: float
  rear_m: float

  @property
  def places(self) -> int:
    return _whole(self.cells, self.patch, "cells") ** 2

  @property
  def patch_m(self) -> float:
    """The edge of a patch."""
    return self.patch * self.cell_m

  @property
  def half_m(self) -> float:
    """Half an edge of the grid."""
    return self.cells * self.cell_m / 2

  @property
  def corner_m(self) -> tuple[float, float]:
    """What is added to (x, y) in metres before it is counted in cells."""
    return self.rear_m, self.half_m


@dataclasses.dataclass(frozen=True)
class RasterConfig:
  """zeros: for each channel, the uint8 value that means nothing there."""

  grid: GridConfig
  zeros: tuple[int, ...]

  @property
  def places(self) -> int:
    return self.grid.places

  def param_count(self, width: int, tube: int) -> int:
    return width * (len(self.zeros) * tube * self.grid.patch**2 + 1 + self.places)

  def flops_per_clip(self, width: int, tube: int, steps: int) -> int:
    return self.stem_flops_per_clip(width, tube, steps)

  def stem_flops_per_clip(self, width: int, tube: int, steps: int) -> int:
    return steps * self.places * 2 * width * len(self.zeros) * tube * self.grid.patch**2


@dataclasses.dataclass(frozen=True)
class LidarConfig:
  """points: of a sweep, for counting. channels: of a pillar, one for each cell of the grid."""

  grid: GridConfig
  points: int
  channels: int

  @property
  def places(self) -> int:
    return self.grid.places

  @property
  def pillar(self) -> int:
    """What is known of a pillar: the largest and the mean of its points' channels, and how many there are."""
    return 2 * self.channels + 1

  def param_count(self, width: int, tube: int) -> int:
    points = self.channels * (POINT_FEATURES + 1)
    return points + width * (self.pillar * self.grid.patch**2 + 1 + self.places)

  def flops_per_clip(self, width: int, tube: int, steps: int) -> int:
    patches = steps * self.places * 2 * width * self.pillar * self.grid.patch**2
    return self.stem_flops_per_clip(width, tube, steps) + patches

  def stem_flops_per_clip(self, width: int, tube: int, steps: int) -> int:
    return steps * self.points * 2 * POINT_FEATURES * self.channels


@dataclasses.dataclass(frozen=True)
class EgoConfig:
  """scales: for each entry of the ego state, what is large for it, in its unit."""

  scales: tuple[float, ...]

  @property
  def places(self) -> int:
    return 1

  def param_count(self, width: int, tube: int) -> int:
    return 4 * width * (len(self.scales) + 1 + width)

  def flops_per_clip(self, width: int, tube: int, steps: int) -> int:
    return self.stem_flops_per_clip(width, tube, steps) + steps * 8 * width**2

  def stem_flops_per_clip(self, width: int, tube: int, steps: int) -> int:
    return steps * 8 * width * len(self.scales)
