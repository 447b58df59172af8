"""Boxes, map lines and actions as tokens: a row of quantities, each rounded to the middle of one of its bins.

A quantity x in [low, high] with b bins of width s = (high - low) / b becomes i = floor((x - low) / s), and decodes
to low + (i + 1/2) s: the error is s / 2 at most. An angle is periodic and is wrapped into its range first. The
fields of a row have vocabularies of their own, one after another in one stream of integers, so that a sequence
model reads a row as a sentence. A row with a quantity out of range is masked and counted, never clipped.
The discretised quantities of a driving scene as one sequence: A. Seff et al., "MotionLM", arXiv:2309.16534.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from data import motion
from data.errors import BadInput
from data.tokens import Tokens, grid_positions, require, require_frames, require_ids


@dataclasses.dataclass(frozen=True)
class Field:
  """One quantity of a row, in the unit of its range; periodic: high is low again."""

  name: str
  low: float
  high: float
  bins: int
  periodic: bool = False

  @property
  def max_error(self) -> float:
    return (self.high - self.low) / self.bins / 2

  def encode(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float [...] to bins int64 [...], and whether they are in range; a bin out of range is 0."""
    share = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
    if self.periodic:
      share = share % 1.0
    fits = (share >= 0) & (share <= 1)  # False for NaN
    return np.minimum(np.where(fits, share, 0) * self.bins, self.bins - 1).astype(np.int64), fits

  def decode(self, bins: np.ndarray) -> np.ndarray:
    """Middle of each bin, float64."""
    return self.low + (bins + 0.5) * (self.high - self.low) / self.bins


def classes(name: str, count: int) -> Field:
  """A field of `count` classes 0, 1, ...: its bins are the classes, without error."""
  return Field(name, -0.5, count - 0.5, count)


@dataclasses.dataclass(frozen=True)
class VectorTokens:
  """A tokeniser of rows [..., T, K, fields]: K slots of a frame, a token for each field of a slot."""

  fields: tuple[Field, ...]
  slots: int

  @property
  def offsets(self) -> tuple[int, ...]:
    """The first token of each field."""
    return tuple(sum(field.bins for field in self.fields[:i]) for i in range(len(self.fields)))

  @property
  def vocabulary(self) -> int:
    return sum(field.bins for field in self.fields)

  @property
  def tokens_per_frame(self) -> int:
    return self.slots * len(self.fields)

  @property
  def max_error(self) -> tuple[float, ...]:
    """Of each field, in its unit."""
    return tuple(field.max_error for field in self.fields)

  def encode(self, array: np.ndarray, present: np.ndarray | None = None) -> Tokens:
    """Rows [..., T, K, fields], and which exist [..., T, K], to values [..., T K fields].

    positions are (frame, slot, field); dropped counts present rows with a quantity out of range.
    """
    leading = require(array, "rows", (None, self.slots, len(self.fields)), "fiu")
    exists = np.ones(array.shape[:-1], bool) if present is None else present
    require(exists, "present", array.shape[:-1], "b")
    parts = [field.encode(array[..., i]) for i, field in enumerate(self.fields)]
    fits = np.stack([part[1] for part in parts], -1).all(-1)
    ids = np.stack([part[0] for part in parts], -1) + np.asarray(self.offsets)
    kept = exists & fits
    values = np.where(kept[..., None], ids, 0).astype(np.int32).reshape(*leading, -1)
    mask = np.broadcast_to(kept[..., None], array.shape).reshape(values.shape)
    positions = grid_positions(array.shape[-3:], leading)
    return Tokens(values, mask, positions, int((exists & ~fits).sum()))

  def decode(self, tokens: Tokens) -> np.ndarray:
    """Rows float64 [..., T, K, fields]; NaN where there are no tokens."""
    leading = require(tokens.values, "tokens", (None,), "iu")
    require_ids(tokens.values, self.vocabulary, "tokens")
    require_frames(tokens.values, self.tokens_per_frame, "tokens")
    ids = tokens.values.reshape(*leading, -1, self.slots, len(self.fields)) - np.asarray(self.offsets)
    mask = tokens.mask.reshape(ids.shape)
    wrong = mask & ((ids < 0) | (ids >= [field.bins for field in self.fields]))
    if wrong.any():
      raise BadInput(
        f"{int(wrong.sum())} tokens are of another field than their place", "tokens", "keep the order"
      )
    rows = np.stack([field.decode(ids[..., i]) for i, field in enumerate(self.fields)], -1)
    return np.where(mask, rows, np.nan)


def box_tokens(slots: int, reach: float, bins: int, kinds: int) -> VectorTokens:
  """Rows x, y, z, length, width, height (m), yaw (rad), class: boxes within `reach` m of the ego."""
  spans = [("x", -reach, reach), ("y", -reach, reach), ("z", -8.0, 8.0)]
  spans += [("length", 0.0, 32.0), ("width", 0.0, 8.0), ("height", 0.0, 8.0)]
  yaw = Field("yaw", -math.pi, math.pi, bins, periodic=True)
  return VectorTokens(
    (*(Field(n, low, high, bins) for n, low, high in spans), yaw, classes("class", kinds)), slots
  )


def polyline_tokens(elements: int, points: int, reach: float, bins: int, kinds: int) -> VectorTokens:
  """Rows class, x, y, x, y, ... (m): map lines of `points` points within `reach` m."""
  spans = [Field(f"{axis}{i}", -reach, reach, bins) for i in range(points) for axis in "xy"]
  return VectorTokens((classes("class", kinds), *spans), elements)


@dataclasses.dataclass(frozen=True)
class ActionTokens:
  """Controls as motion tokens (data/motion.py): [..., T, 2], acceleration m/s^2 and yaw rate rad/s, one per frame.

  The nearest of each table is taken. Beyond its ends by more than half the outermost gap an action has no token.
  """

  @property
  def vocabulary(self) -> int:
    return motion.VOCABULARY

  @property
  def tokens_per_frame(self) -> int:
    return 1

  @property
  def max_error(self) -> tuple[float, float]:
    """Half the widest gap of each table: m/s^2, rad/s."""
    widest = [float(np.diff(table).max()) / 2 for table in (motion.ACCELERATIONS, motion.YAW_RATES)]
    return widest[0], widest[1]

  def encode(self, array: np.ndarray) -> Tokens:
    leading = require(array, "actions", (None, 2), "f")
    first, fits_first = _nearest(array[..., 0], motion.ACCELERATIONS)
    second, fits_second = _nearest(array[..., 1], motion.YAW_RATES)
    fits = fits_first & fits_second
    values = np.where(fits, first * len(motion.YAW_RATES) + second, 0).astype(np.int32)
    return Tokens(values, fits, grid_positions(array.shape[-2:-1], leading), int((~fits).sum()))

  def decode(self, tokens: Tokens) -> np.ndarray:
    """float32 [..., T, 2]; NaN where there is no token."""
    require(tokens.values, "actions", (None,), "iu")
    require_ids(tokens.values, self.vocabulary, "actions")
    actions = np.stack(motion.split(tokens.values), -1)
    return np.where(tokens.mask[..., None], actions, np.float32(np.nan))


def _nearest(values: np.ndarray, table: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
  """Index of the nearest entry of a rising table, and whether it is near enough to stand for the value."""
  entries = np.asarray(table, np.float64)
  middles = (entries[1:] + entries[:-1]) / 2
  ends = entries[0] - (middles[0] - entries[0]), entries[-1] + (entries[-1] - middles[-1])
  return np.searchsorted(middles, values), (values >= ends[0]) & (values <= ends[1])
