"""Training records (windows, clips) from disk to batches, by Grain: shuffled, endless, resumable at any sample.

The order is one endless stream of record indices (data/mixtures.py); process i of n takes every n-th element from
i on, and batches of size / n. The global batch of a step is therefore the same set of records for every n that
divides the batch, and a position is a single number: records consumed over all processes.
"""

import dataclasses
import threading
from collections.abc import Iterable, Iterator

import grain
import numpy as np

from data import records
from data.datasets import REBUILD, Dataset, Records
from data.errors import BadInput
from data.mixtures import Order

_BAD_SHARE = 1e-4  # of a split's records may be unreadable, but always at least one
_ENDLESS = 2**53  # reads; the stream keeps a length that fits an index
_TOGETHER = 32  # records read at once: to hand over two takes longer than to read them
_AHEAD = 4  # reads in advance
_STACKED_TOGETHER = 1024


class RecordSource:
  """Random access to training records; unreadable ones are replaced, counted and bounded.

  Args:
    dataset: opened. split: its name. fields: arrays wanted.
    limit: use so many records, 0: all. They are drawn from the whole split, and a larger limit adds to them.

  Attributes:
    tokens_per_record: mean tokens per record of the split, as its config counts them (windows: supervised moves).
    skipped: distinct unreadable records met so far.
  """

  def __init__(self, dataset: Dataset, split: str, fields: Iterable[str], limit: int = 0):
    self._fields = tuple(fields)
    kind = dataset.config.kind
    self._where = f"{dataset.path}/{kind}, {split}"
    self._parts = []
    for part, spec in dataset.config.parts.items():
      if wanted := [name for name in self._fields if name in spec]:
        self._parts.append(_Part(dataset.records(part, split), records.row_dtype(spec), wanted))
    counts = dataset.manifest["splits"][split]
    written = counts[kind]
    for stored in self._parts:
      if len(stored.records) != written:
        found = f"{len(stored.records)} records of {', '.join(stored.fields)}"
        raise BadInput(f"{found}, {written} were written", self._where, REBUILD)
    if limit > written:
      raise BadInput(f"{limit} {kind} wanted, {written} exist", self._where, "lower unique_windows")
    # A prefix would hold one domain only: records are written scene by scene.
    self._places = np.random.default_rng(0).permutation(written)[:limit] if limit else None
    self._length = limit or written
    self.tokens_per_record = counts["tokens"] / written
    self._bad: set[int] = set()
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return self._length

  @property
  def skipped(self) -> int:
    return len(self._bad)

  def stacked(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The records at `indices`, stacked by field: [len(indices), ...]."""
    encoded = zip(*(self._read(int(index)) for index in indices), strict=True)
    found: dict[str, np.ndarray] = {}
    for part, rows in zip(self._parts, encoded, strict=True):
      table = np.frombuffer(b"".join(rows), part.row)
      found |= {name: np.ascontiguousarray(table[name]) for name in part.fields}
    return {name: found[name] for name in self._fields}

  def pieces(self) -> Iterator[dict[str, np.ndarray]]:
    """All records in order, `stacked` some at a time."""
    for start in range(0, len(self), _STACKED_TOGETHER):
      yield self.stacked(np.arange(start, min(start + _STACKED_TOGETHER, len(self))))

  def _read(self, index: int) -> list[bytes]:
    """The bytes of the record, one string of each part, or of the next that is readable in all of them."""
    for attempt in range(self._length):
      place = (index + attempt) % self._length
      if place in self._bad:
        continue
      stored = place if self._places is None else int(self._places[place])
      try:
        return [part.read(stored) for part in self._parts]
      except RuntimeError as error:
        self._reject(place, str(error))
    raise BadInput("no record is readable", self._where, REBUILD)

  def _reject(self, place: int, why: str) -> None:
    with self._lock:
      self._bad.add(place)
      if len(self._bad) > max(1, _BAD_SHARE * self._length):
        what = f"{len(self._bad)} of {self._length} records are unreadable (the last: {why})"
        raise BadInput(what, self._where, REBUILD)


@dataclasses.dataclass(frozen=True)
class _Part:
  """The records of one kind, and the wanted fields among those they hold."""

  records: Records
  row: np.dtype
  fields: list[str]

  def read(self, place: int) -> bytes:
    """Raises RuntimeError when the record is damaged."""
    record = self.records[place]
    if len(record) != self.row.itemsize:
      raise RuntimeError(f"{len(record)} bytes instead of {self.row.itemsize}")
    return record


def labels(source: RecordSource, axes: Iterable[str]) -> dict[str, np.ndarray]:
  """What every record of a source made for these scalar fields says of itself: axis -> [N], whole numbers."""
  pieces = list(source.pieces())
  return {axis: np.concatenate([piece[axis] for piece in pieces]).astype(np.int64) for axis in axes}


def batches(
  source: RecordSource,
  batch_size: int,
  order: Order,
  start: int,
  process: int,
  processes: int,
  threads: int,
  weigh: bool = False,
) -> Iterator[dict[str, np.ndarray]]:
  """Endless batches of this process's share, [batch_size / processes, ...], from global sample `start` on.

  Args:
    order: of the source's records, see data/mixtures.py.
    weigh: add "weight", the order's weight of each record.

  `threads` read ahead; with 0 each batch is read when asked for. Raises BadInput when `processes` does not
  divide the batch, and from the iterator when too many records are unreadable.
  """
  if batch_size % processes:
    raise BadInput(
      f"batch {batch_size} is not a multiple of {processes} processes", "config", "change one of them"
    )
  size = batch_size // processes
  count = size * max(1, _TOGETHER // size)

  def read(number: int) -> dict[str, np.ndarray]:
    """The records of several batches at once."""
    positions = start + process + processes * (number * count + np.arange(count))
    found = source.stacked(order.at(positions))
    return found | {"weight": order.weights(positions)} if weigh else found

  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_AHEAD if threads else 0)
  reads = grain.MapDataset.range(_ENDLESS).map(read).to_iter_dataset(options)
  return (
    {name: value[row : row + size] for name, value in read.items()}
    for read in reads
    for row in range(0, count, size)
  )
