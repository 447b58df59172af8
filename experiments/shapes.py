"""What `config.model` holds, by family. A family that is added gets its dataclass and its line in SHAPES here.

Every shape has a `width` (of the trunk: learning rates are scaled by it) and a `dtype`. No JAX: a mistyped key is
answered before anything heavy is imported.
"""

import dataclasses

from experiments.ranges import Count, Dtype, Remat


@dataclasses.dataclass(frozen=True)
class Motion:
  """models/motion_config.py; the window's steps and agents come from the dataset."""

  width: Count
  layers: Count
  head_dim: Count
  dtype: Dtype
  scan: bool
  remat: Remat


SHAPES: dict[str, type] = {"motion": Motion}
