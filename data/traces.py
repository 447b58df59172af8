"""Traces: what remains of a scene when asking whether two scenes show the same thing.

Windows cut from one recording overlap in time, and nothing in their names says so (NGSIM US-101 as CommonRoad
scenarios: 52 pairs of files with different numbers share vehicles). What gives them away is that a driver
never repeats himself: a series of 30 speeds with more than 20 distinct values, equal to a millimetre per
second, is the same vehicle at the same moment.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from data.schema import Metadata, Scene

SERIES = 30  # steps
DISTINCT = 20  # a series with no more distinct speeds (standing, cruising) identifies nobody
NEAR_S = 30.0  # s: frames of one recording that are no further apart show the same traffic

_WEIGHTS = np.random.default_rng(30).integers(0, 2**63, SERIES, np.uint64) | np.uint64(1)


@dataclasses.dataclass(frozen=True)
class Trace:
  """Attributes:
  metadata: of the scene. seconds: its length.
  series: uint64 sorted hashes of the speed series of all its agents.
  """

  metadata: Metadata
  seconds: float
  series: np.ndarray


def trace(scene: Scene) -> Trace:
  """The trace of a scene; `series` is empty when it is shorter than SERIES frames."""
  speed = np.hypot(scene.velocity_TxAx2[..., 0], scene.velocity_TxAx2[..., 1])
  millimetres = np.round(speed.astype(np.float64) * 1000).astype(np.int64)
  seconds = (len(scene.valid_TxA) - 1) * scene.metadata.dt
  found = [_hashes(millimetres[:, a], scene.valid_TxA[:, a]) for a in range(scene.valid_TxA.shape[1])]
  return Trace(scene.metadata, seconds, np.unique(np.concatenate([np.zeros(0, np.uint64), *found])))


def same_traffic(traces: Sequence[Trace]) -> Iterator[tuple[int, int]]:
  """Pairs of indices that share a speed series, or frames of one recording within NEAR_S.

  Of many scenes that share one series only neighbours in the list are paired: enough to join them, and some
  pair lies across any cut through them. A negative `start_s` is unknown and near to nothing.
  """
  hashes = np.concatenate([np.zeros(0, np.uint64), *(t.series for t in traces)])
  owner = np.repeat(np.arange(len(traces)), [len(t.series) for t in traces])
  order = hashes.argsort(kind="stable")
  hashes, owner = hashes[order], owner[order]
  same = np.flatnonzero(hashes[1:] == hashes[:-1])
  shared = np.unique(np.stack([owner[same], owner[same + 1]], -1), axis=0)
  yield from ((int(i), int(j)) for i, j in shared)

  known = [i for i, t in enumerate(traces) if t.metadata.recording and t.metadata.start_s >= 0]
  for members in buckets((traces[i].metadata.source, traces[i].metadata.recording) for i in known):
    line = sorted((known[m] for m in members), key=lambda i: traces[i].metadata.start_s)
    for place, i in enumerate(line):
      end = traces[i].metadata.start_s + traces[i].seconds + NEAR_S
      for j in line[place + 1 :]:
        if traces[j].metadata.start_s > end:
          break
        yield i, j


def buckets(keys: Iterable[object]) -> list[list[int]]:
  """Positions by equal key, in order of first appearance; None belongs nowhere."""
  found: dict[object, list[int]] = {}
  for index, key in enumerate(keys):
    if key is not None:
      found.setdefault(key, []).append(index)
  return list(found.values())


def _hashes(values_T: np.ndarray, valid_T: np.ndarray) -> np.ndarray:
  """uint64 hash of every telling series of SERIES valid frames in a row."""
  if len(values_T) < SERIES:
    return np.zeros(0, np.uint64)
  rows = np.lib.stride_tricks.sliding_window_view(values_T, SERIES)
  whole = np.lib.stride_tricks.sliding_window_view(valid_T, SERIES).all(-1)
  rows = rows[whole]
  distinct = 1 + (np.diff(np.sort(rows, -1), axis=-1) > 0).sum(-1)
  return (rows[distinct > DISTINCT].astype(np.uint64) * _WEIGHTS).sum(-1, dtype=np.uint64)
