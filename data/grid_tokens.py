"""Grids of classes as tokens: each cell is one token, its class. Cells of a bird's-eye view; frames of codes.

64 x 64 cells are 4,096 tokens a frame, 128 x 128 are 16,384, and eight frames of those 131,072. Frames that another
network has made codes of are such grids, too (data/codes.py).
"""

import dataclasses

import numpy as np

from data.tokens import Tokens, grid_positions, require, require_frames, require_ids


@dataclasses.dataclass(frozen=True)
class GridTokens:
  """Attributes: height, width: cells of a frame. classes: the vocabulary."""

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
    require_frames(tokens.values, self.tokens_per_frame, "cells")
    return tokens.values.reshape(*leading, -1, self.height, self.width)
