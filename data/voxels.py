"""LiDAR sweeps as tokens: the id of every voxel that holds a point. A grid one voxel high is made of pillars.

With low l, cell size s and counts n (each x, y, z), a point p lies in voxel i = floor((p - l) / s), of id
(i_x n_y + i_y) n_z + i_z. A token decodes to the voxel's centre l + (i + 1/2) s, so that no coordinate of a point
is further than s / 2 from that of its token. Points outside the grid, and voxels beyond the capacity of a frame,
are counted. Voxels: Y. Zhou and O. Tuzel, "VoxelNet", arXiv:1711.06396; pillars: A. Lang et al., arXiv:1812.05784.
"""

import dataclasses
import math

import numpy as np

from data.errors import BadInput
from data.tokens import Tokens, require, require_frames, require_ids


@dataclasses.dataclass(frozen=True)
class Voxels:
  """A tokeniser of sweeps [..., T, P, 3 or more] in metres; what follows x, y, z is not read.

  Attributes:
    low: least x, y, z, m. size: edges of a voxel, m. counts: voxels along x, y, z.
    capacity: tokens of a frame; the ids that are there come first, in order, then padding.
  """

  low: tuple[float, float, float]
  size: tuple[float, float, float]
  counts: tuple[int, int, int]
  capacity: int

  def __post_init__(self):
    if (
      min(self.size) <= 0 or min(*self.counts, self.capacity) < 1 or self.vocabulary > np.iinfo(np.int32).max
    ):
      what = f"size {self.size}, counts {self.counts}, capacity {self.capacity}"
      raise BadInput(what, "voxels", "give positive ones, and less than 2^31 voxels")

  @property
  def vocabulary(self) -> int:
    return math.prod(self.counts)

  @property
  def tokens_per_frame(self) -> int:
    return self.capacity

  @property
  def max_error(self) -> tuple[float, float, float]:
    """m in x, y, z between a point and its token."""
    return self.size[0] / 2, self.size[1] / 2, self.size[2] / 2

  def voxel_of(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [..., 3 or more] to ids int32 [...] and whether they lie in the grid; ids outside are 0.

    Raises BadInput for a point of fewer than three coordinates. float64 inside: in float32, (p - l) / s can round
    up to the next voxel.
    """
    if np.shape(points)[-1] < 3:
      raise BadInput(f"has shape {list(np.shape(points))}", "points", "give x, y, z of every point")
    cell = np.floor((np.asarray(points)[..., :3].astype(np.float64) - self.low) / self.size)
    inside = np.asarray(((cell >= 0) & (cell < self.counts)).all(-1))  # False for NaN
    cell = np.where(inside[..., None], cell, 0).astype(np.int64)
    return np.ravel_multi_index(tuple(np.moveaxis(cell, -1, 0)), self.counts).astype(np.int32), inside

  def centres(self, ids: np.ndarray) -> np.ndarray:
    """float32 [..., 3] m: the middle of each voxel."""
    return ((self._cells(ids) + 0.5) * self.size + self.low).astype(np.float32)

  def occupancy(self, points: np.ndarray, echo: np.ndarray) -> np.ndarray:
    """bool [..., counts]: which voxels hold a point of [..., P, 3 or more] where `echo` [..., P] is True."""
    leading = require(points, "points", (None, None), "f")
    require(echo, "echo", points.shape[:-1], "b")
    ids, inside = self.voxel_of(points)
    held = np.zeros((math.prod(leading), self.vocabulary), bool)
    sweep, point = np.nonzero((inside & echo).reshape(len(held), -1))
    held[sweep, ids.reshape(len(held), -1)[sweep, point]] = True
    return held.reshape(*leading, *self.counts)

  def encode(self, array: np.ndarray, echo: np.ndarray | None = None) -> Tokens:
    """Sweeps [..., T, P, 3 or more], and which points exist, to values [..., T capacity].

    positions are (frame, i_x, i_y, i_z). dropped counts points outside the grid and points in voxels that found
    no room: the sweep's farthest, by the distance of the voxel from the sensor at (0, 0, 0).
    """
    leading = require(array, "points", (None, None, None), "f")
    steps = array.shape[-3]
    exists = np.ones(array.shape[:-1], bool) if echo is None else echo
    require(exists, "echo", array.shape[:-1], "b")
    ids, inside = self.voxel_of(array)
    sweeps = math.prod(array.shape[:-2])
    values = np.zeros((sweeps, self.capacity), np.int32)
    mask = np.zeros(values.shape, bool)
    dropped = int((exists & ~inside).sum())
    rows = zip(ids.reshape(sweeps, -1), (inside & exists).reshape(sweeps, -1), strict=True)
    for row, (all_ids, kept) in enumerate(rows):
      found, points = np.unique(all_ids[kept], return_counts=True)
      if len(found) > self.capacity:
        near = np.linalg.norm(self.centres(found), axis=-1).argsort(kind="stable")
        dropped += int(points[near[self.capacity :]].sum())
        found = np.sort(found[near[: self.capacity]])
      values[row, : len(found)], mask[row, : len(found)] = found, True
    frame = np.broadcast_to(np.arange(sweeps)[:, None, None] % steps, (*values.shape, 1))
    positions = np.concatenate([frame, self._cells(values)], -1).astype(np.int32)
    shape = (*leading, steps * self.capacity)
    return Tokens(values.reshape(shape), mask.reshape(shape), positions.reshape(*shape, 4), dropped)

  def decode(self, tokens: Tokens) -> np.ndarray:
    """Centres float32 [..., T, capacity, 3] m; NaN where there is no token."""
    leading = require(tokens.values, "voxels", (None,), "iu")
    require_ids(tokens.values, self.vocabulary, "voxels")
    require_frames(tokens.values, self.capacity, "voxels")
    centres = np.where(tokens.mask[..., None], self.centres(tokens.values), np.float32(np.nan))
    return centres.reshape(*leading, -1, self.capacity, 3)

  def _cells(self, ids: np.ndarray) -> np.ndarray:
    """int64 [..., 3]: index of each voxel along x, y, z."""
    return np.stack(np.unravel_index(ids, self.counts), -1)
