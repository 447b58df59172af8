"""Windows from disk to batches, by Grain: shuffled, endless, resumable at any global sample.

The order is one endless stream of window indices (shuffle, then repeat); process i of n takes every n-th
element from i on, and batches of size / n. The global batch of a step is therefore the same set of windows
for every n that divides the batch, and a position is a single number: windows consumed over all processes.
"""

import threading
from collections.abc import Iterable, Iterator

import grain
import numpy as np

from data import records
from data.datasets import REBUILD, Dataset
from data.errors import BadInput

_BAD_SHARE = 1e-4  # of a split's records may be unreadable, but always at least one
_EPOCHS = 1_000_000  # endless in practice, yet the stream keeps a length that fits an index
_AHEAD = 8  # batches prepared in advance


class WindowSource:
  """Random access to windows; unreadable records are replaced, counted and bounded.

  Args:
    dataset: opened. split: its name. fields: window arrays wanted.
    limit: use so many windows, 0: all. They are drawn from the whole split, and a larger limit adds to them.

  Attributes:
    tokens_per_window: mean supervised moves per window of the split.
    tokens: supervised moves available, by that mean.
    skipped: distinct unreadable records met so far.
  """

  def __init__(self, dataset: Dataset, split: str, fields: Iterable[str], limit: int = 0):
    self._records = dataset.records("windows", split)
    self._where = f"{dataset.path}/windows, {split}"
    counts = dataset.manifest["splits"][split]
    if len(self._records) != counts["windows"]:
      raise BadInput(f"{len(self._records)} windows, {counts['windows']} were written", self._where, REBUILD)
    if limit > counts["windows"]:
      raise BadInput(
        f"{limit} windows wanted, {counts['windows']} exist", self._where, "lower unique_windows"
      )
    # A prefix would hold one domain only: windows are written scene by scene.
    self._places = np.random.default_rng(0).permutation(counts["windows"])[:limit] if limit else None
    self._length = limit or counts["windows"]
    self.tokens_per_window = counts["tokens"] / counts["windows"]
    self.tokens = self._length * self.tokens_per_window
    self._row = records.row_dtype(dataset.window.spec)
    self._fields = tuple(fields)
    self._bad: set[int] = set()
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return self._length

  @property
  def skipped(self) -> int:
    return len(self._bad)

  def stacked(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The windows at `indices`, stacked by field: [len(indices), ...]."""
    rows = np.frombuffer(b"".join(self._read(int(index)) for index in indices), self._row)
    return {name: np.ascontiguousarray(rows[name]) for name in self._fields}

  def _read(self, index: int) -> bytes:
    """The record, or the next readable one."""
    for attempt in range(self._length):
      place = (index + attempt) % self._length
      if place in self._bad:
        continue
      try:
        record = self._records[place if self._places is None else int(self._places[place])]
        if len(record) == self._row.itemsize:
          return record
        self._reject(place, f"{len(record)} bytes instead of {self._row.itemsize}")
      except RuntimeError as error:
        self._reject(place, str(error))
    raise BadInput("no record is readable", self._where, REBUILD)

  def _reject(self, place: int, why: str) -> None:
    with self._lock:
      self._bad.add(place)
      if len(self._bad) > max(1, _BAD_SHARE * self._length):
        what = f"{len(self._bad)} of {self._length} records are unreadable (the last: {why})"
        raise BadInput(what, self._where, REBUILD)


def batches(
  source: WindowSource,
  batch_size: int,
  seed: int,
  start: int,
  process: int,
  processes: int,
  threads: int,
) -> Iterator[dict[str, np.ndarray]]:
  """Endless batches of this process's share, [batch_size / processes, ...], from global sample `start` on.

  `threads` read ahead; with 0 each batch is read when asked for. Raises BadInput when `processes` does not
  divide the batch, and from the iterator when too many records are unreadable.
  """
  if batch_size % processes:
    raise BadInput(
      f"batch {batch_size} is not a multiple of {processes} processes", "config", "change one of them"
    )
  order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(_EPOCHS)
  mine = order[start + process :: processes].batch(batch_size // processes).map(source.stacked)
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_AHEAD if threads else 0)
  return iter(mine.to_iter_dataset(options))
