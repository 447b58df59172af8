"""Windows of codes: T frames of S discrete codes each, and the ego's action that led to every frame.

Frames of any tokeniser (data/tokens.py) are records of one kind: tokens that come from elsewhere (commaVQ), the raw
cells of a bird's-eye view (data.clips), or what a trained tokeniser makes of clips (experiments.encode).
"""

import dataclasses
import math
import pathlib
from typing import ClassVar

import numpy as np

from data import records
from data.errors import BadInput
from data.grid_tokens import GridTokens
from data.tokens import Tokeniser, Tokens, count, grid_positions

Window = dict[str, np.ndarray]

COMMAVQ = GridTokens(8, 16, 1024)  # frames of camera video at 20 Hz, encoded elsewhere


@dataclasses.dataclass(frozen=True)
class CodesConfig:
  """The shape of a window of codes.

  Attributes:
    steps: T frames. places: S codes of a frame, in raster order. codes: V, the vocabulary.
    actions: symbols of the ego's action; the last one says that none is known, the only one when it is 1.
  """

  kind: ClassVar[str] = "codes"

  steps: int
  places: int
  codes: int
  actions: int

  @classmethod
  def of(cls, tokeniser: Tokeniser, steps: int, actions: int) -> "CodesConfig":
    """Windows of what a tokeniser makes; BadInput when its tokens are vectors, too many for uint16 with one more code
    besides, or no whole number in a frame."""
    name, most = type(tokeniser).__name__, np.iinfo(np.uint16).max
    if tokeniser.vocabulary is None:
      raise BadInput("its tokens are vectors", name, "choose one with a vocabulary")
    if tokeniser.vocabulary > most:
      raise BadInput(f"a vocabulary of {tokeniser.vocabulary}", name, f"codes are at most {most}: coarsen it")
    return cls(steps, count(tokeniser, 1), tokeniser.vocabulary, actions)

  @property
  def spec(self) -> records.Spec:
    """Every array of a window: name to (shape, dtype)."""
    return {
      "codes_TxS": ((self.steps, self.places), np.uint16),
      "actions_T": ((self.steps,), np.uint16),  # the action from frame t - 1 to frame t
      "mask_T": ((self.steps,), np.bool_),  # the frame is there
      "domain": ((), np.uint8),
      "scene": ((), np.int32),  # which records belong together, see data.datasets: never a model's input
    }

  @property
  def parts(self) -> dict[str, records.Spec]:
    return {self.kind: self.spec}

  def tokens(self, window: Window) -> int:
    """Codes of the frames that are there."""
    return int(window["mask_T"].sum()) * self.places


def read_commavq(path: pathlib.Path | str) -> np.ndarray:
  """Frames int64 [T, 8, 16] of a commaVQ file, for the tokeniser COMMAVQ.

  Raises BadInput when it is absent, no plain array of integers, of another shape, or a code is out of range.
  """
  remedy = "give the tokens.npy of commaVQ"
  try:
    tokens = np.load(path, allow_pickle=False)
  except (OSError, ValueError, EOFError) as error:
    raise BadInput(f"is no plain NumPy array ({error})", path, remedy) from None
  if not isinstance(tokens, np.ndarray) or tokens.dtype.kind not in "iu":
    raise BadInput("holds no array of integers", path, remedy)
  places, codes = COMMAVQ.tokens_per_frame, COMMAVQ.classes
  if tokens.ndim < 2 or not len(tokens) or math.prod(tokens.shape[1:]) != places:
    raise BadInput(f"has shape {tokens.shape}, not [T, {places}]", path, remedy)
  if tokens.min() < 0 or tokens.max() >= codes:
    what = f"holds codes from {tokens.min()} to {tokens.max()}, outside 0 to {codes - 1}"
    raise BadInput(what, path, remedy)
  return tokens.reshape(-1, COMMAVQ.height, COMMAVQ.width).astype(np.int64)


def blocks(frames: int, fractions: dict[str, float], gap: int, where: object) -> dict[str, slice]:
  """One stretch of time for each split, in order, with `gap` frames left out between two of them.

  Neighbouring frames are near copies: a split by frame would hold out what was trained on. Raises BadInput when a
  stretch has no frame.
  """
  usable = frames - gap * (len(fractions) - 1)
  edges = np.round(np.cumsum([0, *fractions.values()]) / sum(fractions.values()) * max(usable, 0)).astype(int)
  found = {
    name: slice(int(edges[i]) + i * gap, int(edges[i + 1]) + i * gap) for i, name in enumerate(fractions)
  }
  if empty := [name for name, part in found.items() if part.stop <= part.start]:
    raise BadInput(f"{frames} frames leave none for {empty[0]!r}", where, "give more frames or a smaller gap")
  return found


def windows_of(
  frames_TxS: np.ndarray, actions_T: np.ndarray, config: CodesConfig, stride: int, domain: int
) -> list[Window]:
  """Every window that starts `stride` frames after another; fewer frames than a window give none."""
  starts = range(0, len(frames_TxS) - config.steps + 1, stride)
  return [
    {
      "codes_TxS": frames_TxS[start : start + config.steps].astype(np.uint16),
      "actions_T": actions_T[start : start + config.steps].astype(np.uint16),
      "mask_T": np.ones(config.steps, bool),
      "domain": np.asarray(domain, np.uint8),
      "scene": np.zeros((), np.int32),  # known when it is written
    }
    for start in starts
  ]


def as_tokens(frames_TxS: np.ndarray) -> Tokens:
  """Frames [..., T, S] as the tokens they are, for the tokeniser that made them; positions (frame, place)."""
  *leading, steps, places = frames_TxS.shape
  values = frames_TxS.reshape(*leading, steps * places).astype(np.int32)
  return Tokens(values, np.ones(values.shape, bool), grid_positions((steps, places), leading), 0)


def clip_actions(actions_TxF: np.ndarray, mask_TxF: np.ndarray, none: int) -> np.ndarray:
  """[T]: the move that led to each frame of a clip; the first frame's, and unknown ones, are `none`."""
  moves = np.where(mask_TxF[:-1, 0], actions_TxF[:-1, 0].astype(np.int64), none)
  return np.concatenate([[none], moves])
