"""Windows of codes: T frames of S discrete codes each, and the ego's action that led to every frame.

Any tokeniser's frames are records of one kind: tokens that come from elsewhere (commaVQ), the raw cells of a bird's-eye
view (data.clips), or what a trained tokeniser makes of clips (experiments.encode).
"""

import dataclasses
import pathlib
from typing import ClassVar

import numpy as np

from data import records
from data.errors import BadInput

Window = dict[str, np.ndarray]


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

  @property
  def spec(self) -> records.Spec:
    """Every array of a window: name to (shape, dtype)."""
    return {
      "codes_TxS": ((self.steps, self.places), np.uint16),
      "actions_T": ((self.steps,), np.uint16),  # the action from frame t - 1 to frame t
      "mask_T": ((self.steps,), np.bool_),  # the frame is there
      "domain": ((), np.uint8),
    }

  @property
  def parts(self) -> dict[str, records.Spec]:
    return {self.kind: self.spec}

  def tokens(self, window: Window) -> int:
    """Codes of the frames that are there."""
    return int(window["mask_T"].sum()) * self.places


def read_commavq(path: pathlib.Path | str, codes: int = 1024, places: int = 128) -> np.ndarray:
  """Frames int64 [T, S] of a commaVQ file: 128 codes below 1024 at 20 Hz, a grid of 8 x 16.

  Raises BadInput when it is absent, no plain array of integers, of another shape, or a code is out of range.
  """
  try:
    tokens = np.load(path, allow_pickle=False)
  except (OSError, ValueError, EOFError) as error:
    raise BadInput(f"is no plain NumPy array ({error})", path, "give the tokens.npy of commaVQ") from None
  if not isinstance(tokens, np.ndarray) or tokens.dtype.kind not in "iu":
    raise BadInput("holds no array of integers", path, "give the tokens.npy of commaVQ")
  tokens = tokens.reshape(len(tokens), -1) if tokens.ndim > 1 else tokens
  if tokens.ndim != 2 or tokens.shape[1] != places:
    raise BadInput(f"has shape {tokens.shape}, not [T, {places}]", path, "give the tokens.npy of commaVQ")
  if tokens.min() < 0 or tokens.max() >= codes:
    what = f"holds codes from {tokens.min()} to {tokens.max()}, outside 0 to {codes - 1}"
    raise BadInput(what, path, "give the tokens.npy of commaVQ")
  return tokens.astype(np.int64)


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
    }
    for start in starts
  ]


def clip_actions(actions_TxF: np.ndarray, mask_TxF: np.ndarray, none: int) -> np.ndarray:
  """[T]: the move that led to each frame of a clip; the first frame's, and unknown ones, are `none`."""
  moves = np.where(mask_TxF[:-1, 0], actions_TxF[:-1, 0].astype(np.int64), none)
  return np.concatenate([[none], moves])
