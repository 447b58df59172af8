"""What `config.model` holds, by family. A family that is added gets its dataclass and its line in SHAPES here.

Every shape has a `width` (of the trunk: learning rates are scaled by it) and a `dtype`. No JAX: a mistyped key is
answered before anything heavy is imported.
"""

import dataclasses
import typing

from experiments.ranges import Count, Dtype, Natural, Remat


@dataclasses.dataclass(frozen=True)
class Motion:
  """models/motion_config.py; the window's steps and agents come from the dataset."""

  width: Count
  layers: Count
  head_dim: Count
  dtype: Dtype
  scan: bool
  remat: Remat


@dataclasses.dataclass(frozen=True)
class Perception:
  """models/perception_config.py; the sizes of arrays come from the dataset. A patch of 0: that sensor is not read."""

  width: Count
  layers: Count
  head_dim: Count
  mixing: typing.Literal["full", "factorised", "state_space", "hybrid"]
  state: Natural  # of a recurrence; else 0
  chunk: Natural
  causal: bool
  tube: Count  # frames of a step of the trunk
  ego: bool
  raster_patch: Natural  # cells
  lidar_patch: Natural
  lidar_channels: Natural  # of a pillar
  camera_patch: Natural  # pixels
  dtype: Dtype
  scan: bool
  remat: Remat


SHAPES: dict[str, type] = {"motion": Motion, "perception": Perception}
