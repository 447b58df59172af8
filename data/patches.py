"""Patches as tokens: images (frames = 1) and video tubelets, cut without overlap and put together again.

A token is the vector of all values of one patch [frames, patch, patch, channels], row-major, in the image's own
dtype: nothing is lost. Patches: A. Dosovitskiy et al., "ViT", arXiv:2010.11929; tubelets: A. Arnab et al.,
"ViViT", arXiv:2103.15691.
"""

import dataclasses
from fractions import Fraction

import numpy as np

from data.errors import BadInput
from data.tokens import Tokens, grid_positions, require


@dataclasses.dataclass(frozen=True)
class Patches:
  """A continuous tokeniser of [..., T, height, width, channels].

  Attributes: patch: pixels of a side. frames: frames a tubelet spans; T is a multiple of it.
  Raises BadInput when the patch does not divide height and width.
  """

  height: int
  width: int
  channels: int
  patch: int
  frames: int

  def __post_init__(self):
    if min(self.patch, self.frames) < 1 or self.height % self.patch or self.width % self.patch:
      what = f"{self.height} x {self.width} is not cut by patches of {self.patch} and {self.frames} frames"
      raise BadInput(what, "patches", "choose a patch that divides the image")

  @property
  def vocabulary(self) -> None:
    return None

  @property
  def rows(self) -> int:
    return self.height // self.patch

  @property
  def columns(self) -> int:
    return self.width // self.patch

  @property
  def size(self) -> int:
    """Values of one token."""
    return self.frames * self.patch**2 * self.channels

  @property
  def tokens_per_frame(self) -> Fraction:
    return Fraction(self.rows * self.columns, self.frames)

  def encode(self, array: np.ndarray) -> Tokens:
    """[..., T, H, W, C] of any dtype to values [..., N, size]; positions (tubelet, row, column)."""
    leading = require(array, "images", (None, self.height, self.width, self.channels), "fiu")
    steps = array.shape[-4]
    if steps % self.frames:
      what = f"has {steps} frames, tubelets span {self.frames}"
      raise BadInput(what, "images", "cut or pad the clip to a multiple")
    grid = (steps // self.frames, self.rows, self.columns)
    cut = array.reshape(-1, grid[0], self.frames, grid[1], self.patch, grid[2], self.patch, self.channels)
    values = cut.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(*leading, -1, self.size)
    return Tokens(values, np.ones(values.shape[:-1], bool), grid_positions(grid, leading), 0)

  def decode(self, tokens: Tokens) -> np.ndarray:
    """The inverse of `encode`, bit for bit."""
    leading = require(tokens.values, "patches", (None, self.size), "fiu")
    in_one = self.rows * self.columns
    if tokens.values.shape[-2] % in_one:
      what = f"holds {tokens.values.shape[-2]} tokens, a tubelet has {in_one}"
      raise BadInput(what, "patches", "give whole frames")
    cut = tokens.values.reshape(
      -1, tokens.values.shape[-2] // in_one, self.rows, self.columns, self.frames, self.patch, self.patch, self.channels
    )  # fmt: skip
    images = cut.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return images.reshape(*leading, -1, self.height, self.width, self.channels)
