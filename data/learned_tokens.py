"""Codes of a network as tokens: the network is two functions on arrays, and whose they are is not asked here.

`models.bev_tokeniser.halves` makes them of a trained tokeniser. What comes back from the codes of a frame is what the
network reconstructs of it: how near that is, its own held-out loss says.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from data.tokens import Tokens, grid_positions, require, require_frames, require_ids


class Shape(Protocol):
  """What is asked of a network's configuration (models/bev_tokeniser_config.py)."""

  @property
  def grid(self) -> int: ...  # cells along each side of a frame

  @property
  def patch(self) -> int: ...  # cells along each side of what one code stands for

  @property
  def classes(self) -> int: ...  # of a cell

  @property
  def vocabulary(self) -> int: ...  # codes


@dataclasses.dataclass(frozen=True)
class LearnedTokens:
  """A tokeniser of cells [..., T, H, W]: one code for each patch of a frame.

  Attributes:
    shape: of frames and codes. to_codes: cells [B, T, H, W] to codes [B, T, S]. to_cells: codes [B, T, S] to the
      likeliest class of each cell, [B, T, H, W].
  """

  shape: Shape
  to_codes: Callable
  to_cells: Callable

  @property
  def vocabulary(self) -> int:
    return self.shape.vocabulary

  @property
  def side(self) -> int:
    """Codes along each side of a frame."""
    return self.shape.grid // self.shape.patch

  @property
  def tokens_per_frame(self) -> int:
    return self.side**2

  def encode(self, array: np.ndarray) -> Tokens:
    """Classes [..., T, H, W] to int32 values [..., T S]; positions (frame, row, column) of the patch."""
    leading = require(array, "cells", (None, self.shape.grid, self.shape.grid), "iu")
    require_ids(array, self.shape.classes, "cells")
    codes_BxTxS = np.asarray(self.to_codes(array.reshape(-1, *array.shape[-3:])))
    values = codes_BxTxS.reshape(*leading, -1).astype(np.int32)
    positions = grid_positions((array.shape[-3], self.side, self.side), leading)
    return Tokens(values, np.ones(values.shape, bool), positions, 0)

  def decode(self, tokens: Tokens) -> np.ndarray:
    """Classes [..., T, H, W] that the network reconstructs."""
    leading = require(tokens.values, "codes", (None,), "iu")
    require_ids(tokens.values, self.vocabulary, "codes")
    require_frames(tokens.values, self.tokens_per_frame, "codes")
    steps = tokens.values.shape[-1] // self.tokens_per_frame
    cells = np.asarray(self.to_cells(tokens.values.reshape(-1, steps, self.tokens_per_frame)))
    return cells.reshape(*leading, *cells.shape[1:])
