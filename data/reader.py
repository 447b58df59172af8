"""Windows from disk to batches, by Grain: shuffled, endless, resumable at any global sample.

The order is one endless stream of window indices (shuffle, then repeat); process i of n takes every n-th
element from i on, and batches of size / n. The global batch of a step is therefore the same set of windows
for every n that divides the batch, and a position is a single number: windows consumed over all processes.
"""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import grain
import numpy as np

from data import records
from data.datasets import Dataset
from data.errors import BadInput

_BAD_SHARE = 1e-4  # of a split's records may be unreadable, but always at least one
_AHEAD = 8  # batches prepared in advance


class WindowSource:
  """Random access to windows; unreadable records are replaced, counted and bounded.

  Args:
    dataset: opened. split: its name. fields: window arrays wanted. limit: use the first so many windows, 0: all.

  Attributes:
    tokens_per_window: mean supervised moves per window of the split. tokens: supervised moves available.
    skipped: distinct unreadable records met so far.
  """

  def __init__(self, dataset: Dataset, split: str, fields: Iterable[str], limit: int = 0):
    self._records = dataset.source("windows", split)
    counts = dataset.manifest["splits"][split]
    if limit > counts["windows"]:
      raise BadInput(
        f"{limit} windows wanted, {counts['windows']} exist", dataset.path, "lower unique_windows"
      )
    self._length = limit or counts["windows"]
    self.tokens_per_window = counts["tokens"] / counts["windows"]
    self.tokens = self._length * self.tokens_per_window
    places = records.layout(dataset.window.spec)
    self._places = {name: places[name] for name in fields}
    self._where = f"{dataset.path} {split}"
    self._bad: set[int] = set()
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return self._length

  @property
  def skipped(self) -> int:
    return len(self._bad)

  def stacked(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The windows at `indices`, stacked by field: [len(indices), ...]."""
    out = {
      name: np.empty((len(indices), *shape), dtype) for name, (_, _, shape, dtype) in self._places.items()
    }
    for row, index in enumerate(indices):
      record = self._read(int(index))
      for name, (offset, size, shape, dtype) in self._places.items():
        out[name][row] = np.frombuffer(record, dtype, size // dtype.itemsize, offset).reshape(shape)
    return out

  def _read(self, index: int) -> bytes:
    """The record, or the next readable one."""
    for attempt in range(self._length):
      place = (index + attempt) % self._length
      try:
        return self._records[place]["record"]
      except (RuntimeError, ValueError) as error:
        with self._lock:
          self._bad.add(place)
          if len(self._bad) > max(1, _BAD_SHARE * self._length):
            raise BadInput(
              f"{len(self._bad)} of {self._length} records are unreadable (the last: {error})",
              self._where,
              "build the dataset again",
            ) from None
    raise BadInput("no record is readable", self._where, "build the dataset again")


def batches(
  source: WindowSource,
  batch_size: int,
  seed: int,
  start: int,
  process: int,
  processes: int,
  threads: int,
) -> Iterator[dict[str, Any]]:
  """Endless batches of this process's share, [batch_size / processes, ...], from global sample `start` on."""
  if batch_size % processes:
    raise BadInput(
      f"batch {batch_size} is not a multiple of {processes} processes", "config", "change one of them"
    )
  if start % batch_size:
    raise BadInput(
      f"position {start} is not a multiple of the batch {batch_size}", "checkpoint", "keep the batch size"
    )
  order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
  mine = order[process::processes].batch(batch_size // processes)[start // batch_size :].map(source.stacked)
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_AHEAD if threads else 0)
  return iter(mine.to_iter_dataset(options))
