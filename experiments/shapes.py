"""What `config.model` holds, by family. A family that is added gets its dataclass and its line in SHAPES here.

Every shape has a `width` (of the trunk: learning rates are scaled by it) and a `dtype`. No JAX: a mistyped key is
answered before anything heavy is imported.
"""

import dataclasses
import typing

from experiments.ranges import Count, Dtype, Natural, Remat

Mixing = typing.Literal["full", "factorised", "state_space", "hybrid"]


@dataclasses.dataclass(frozen=True)
class Motion:
  """models/motion_config.py; the window's steps and agents come from the dataset."""

  width: Count
  layers: Count
  head_dim: Count
  heads: Natural  # 0: width / head_dim
  hidden: Natural  # units of each MLP; 0: 4 width
  dtype: Dtype
  scan: bool
  remat: Remat


@dataclasses.dataclass(frozen=True)
class Perception:
  """models/perception_config.py; what sensors look like comes from the dataset.

  sensors: names of those that are read, with commas, of models.perception_config.SENSORS.
  """

  sensors: str
  tube: Count  # frames of a step of the trunk
  grid_patch: Count  # cells along a patch of the raster and of the LiDAR's pillars
  camera_patch: Count  # pixels
  lidar_channels: Count
  width: Count
  layers: Count
  head_dim: Count
  mixing: Mixing
  state: Natural
  chunk: Natural
  causal: bool
  dtype: Dtype
  scan: bool
  remat: Remat
  block: Natural  # queries that attention takes at a time; 0: all
  heads: Natural  # 0: width / head_dim
  hidden: Natural  # units of each MLP; 0: 4 width


@dataclasses.dataclass(frozen=True)
class Codes:
  """models/codes_config.py: two trunks of one width; frames, places and vocabulary come from the dataset."""

  width: Count
  past_layers: Count
  frame_layers: Count
  head_dim: Count
  mixing: Mixing
  state: Natural
  chunk: Natural
  dtype: Dtype
  scan: bool
  remat: Remat
  block: Natural  # queries that attention takes at a time; 0: all
  heads: Natural  # 0: width / head_dim
  hidden: Natural  # units of each MLP; 0: 4 width


@dataclasses.dataclass(frozen=True)
class BevTokeniser:
  """models/bev_tokeniser_config.py; the grid and its classes come from the dataset."""

  width: Count
  layers: Count
  head_dim: Count
  patch: Count
  levels: tuple  # of the channels of a finite scalar code; () for a learned codebook
  codes: Natural  # K and E of that codebook; 0 where there are levels
  code_dim: Natural
  dtype: Dtype
  scan: bool
  remat: Remat


SHAPES: dict[str, type] = {
  "motion": Motion,
  "perception": Perception,
  "codes": Codes,
  "bev_tokeniser": BevTokeniser,
}
