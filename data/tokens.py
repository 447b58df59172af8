"""What every tokeniser answers: encode, decode, its vocabulary and how many tokens one frame makes.

Tokenisers that need no learning: data/patches.py (images and video), data/grid_tokens.py (BEV cells, codes that come
from elsewhere), data/voxels.py (LiDAR), data/vector_tokens.py (boxes, map lines, actions). A learned one answers the
same: data/learned_tokens.py.

`decode(encode(x))` is x, or differs from it by no more than the tokeniser says; of a learned one it is what the
network makes of x. What cannot be said in tokens is counted in `Tokens.dropped`, never lost silently.
"""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np

from data.errors import BadInput

SHAPE = "give the shape that the tokeniser was made for"


@dataclasses.dataclass(frozen=True)
class Tokens:
  """N tokens, frame after frame, with any leading axes.

  Attributes:
    values: int32 [..., N], each below the vocabulary; or, of a continuous tokeniser, [..., N, D].
    mask: bool [..., N], whether the token says something.
    positions: int32 [..., N, I]: its index along each of the tokeniser's axes, the frame first.
    dropped: pieces of the input that no token stands for.
  """

  values: np.ndarray
  mask: np.ndarray
  positions: np.ndarray
  dropped: int


class Tokeniser(Protocol):
  """`vocabulary` is None where tokens are continuous: vectors, to be projected instead of looked up."""

  @property
  def vocabulary(self) -> int | None: ...

  @property
  def tokens_per_frame(self) -> Fraction | int:
    """Exact; a fraction where one token spans several frames."""
    ...

  def encode(self, array: np.ndarray) -> Tokens: ...

  def decode(self, tokens: Tokens) -> np.ndarray: ...


def count(tokeniser: Tokeniser, frames: int) -> int:
  """Tokens that `frames` frames make; BadInput when they are no whole number of tokens."""
  total = Fraction(tokeniser.tokens_per_frame) * frames
  if total.denominator != 1:
    raise BadInput(
      f"{frames} frames make {total} tokens", "frames", "give a multiple of the tubelet's frames"
    )
  return int(total)


def grid_positions(shape: Sequence[int], leading: Sequence[int]) -> np.ndarray:
  """int32 [*leading, prod(shape), len(shape)]: the index of each cell of a grid, last axis fastest. Read-only."""
  index = np.stack(np.unravel_index(np.arange(math.prod(shape)), tuple(shape)), -1).astype(np.int32)
  return np.broadcast_to(index, (*leading, *index.shape))


def require(array: np.ndarray, name: str, shape: Sequence[int | None], kinds: str) -> tuple[int, ...]:
  """Returns the axes before the last len(shape); None stands for any length.

  kinds: NumPy's dtype kinds that are allowed ("f" float, "i" and "u" integer, "b" bool).
  Raises BadInput for another shape or dtype.
  """
  array = np.asarray(array)
  tail = array.shape[array.ndim - len(shape) :] if array.ndim >= len(shape) else ()
  if len(tail) != len(shape) or any(w not in (None, n) for n, w in zip(tail, shape, strict=True)):
    wanted = ", ".join(["...", *("any" if n is None else str(n) for n in shape)])
    raise BadInput(f"has shape {list(array.shape)}, not [{wanted}]", name, SHAPE)
  if array.dtype.kind not in kinds:
    wanted = " or ".join({"f": "float", "i": "int", "u": "uint", "b": "bool"}[kind] for kind in kinds)
    raise BadInput(f"is {array.dtype}, not {wanted}", name, "convert it first")
  return array.shape[: array.ndim - len(shape)]


def require_ids(values: np.ndarray, vocabulary: int, name: str) -> None:
  """Raises BadInput when a token is negative or not below the vocabulary."""
  if values.size and not (values.min() >= 0 and values.max() < vocabulary):
    what = f"holds tokens from {values.min()} to {values.max()}, the vocabulary is {vocabulary}"
    raise BadInput(what, name, "decode with the tokeniser that encoded")


def require_frames(values: np.ndarray, tokens_per_frame: int, name: str) -> None:
  """Raises BadInput when the last axis holds no whole number of frames."""
  if values.shape[-1] % tokens_per_frame:
    what = f"holds {values.shape[-1]} tokens, a frame has {tokens_per_frame}"
    raise BadInput(what, name, "give whole frames")
