"""BEV cells as tokens: each cell of a bird's-eye-view map is one token, its semantic class.

64 x 64 cells are 4,096 tokens a frame, 128 x 128 are 16,384, and eight frames of those 131,072.
"""

import dataclasses

import numpy as np

from data.errors import BadInput
from data.tokens import Tokens, grid_positions, require, require_ids


@dataclasses.dataclass(frozen=True)
class BevCells:
  """Attributes: height, width: cells of the map. classes: the vocabulary."""

  height: int
  width: int
  classes: int

  @property
  def vocabulary(self) -> int:
    return self.classes

  @property
  def tokens_per_frame(self) -> int:
    return self.height * self.width

  def encode(self, array: np.ndarray) -> Tokens:
    """Integer classes [..., T, H, W] to int32 values [..., T H W]; positions (frame, row, column)."""
    leading = require(array, "cells", (None, self.height, self.width), "iu")
    require_ids(array, self.classes, "cells")
    values = array.reshape(*leading, -1).astype(np.int32)
    positions = grid_positions(array.shape[-3:], leading)
    return Tokens(values, np.ones(values.shape, bool), positions, 0)

  def decode(self, tokens: Tokens) -> np.ndarray:
    """Classes [..., T, H, W]; exact."""
    leading = require(tokens.values, "cells", (None,), "iu")
    require_ids(tokens.values, self.classes, "cells")
    if tokens.values.shape[-1] % self.tokens_per_frame:
      what = f"holds {tokens.values.shape[-1]} tokens, a frame has {self.tokens_per_frame}"
      raise BadInput(what, "cells", "give whole frames")
    return tokens.values.reshape(*leading, -1, self.height, self.width)
