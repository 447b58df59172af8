"""What codes can be told without a model: by how often each occurs, and by copying an earlier frame.

With the unigrams u of the training windows (a count of one for each code to begin with) and the share r of their codes
that are the same k frames later, copying gives the code c at a place that held b k frames before the probability

  p(c | b) = (1 - r) u(c) + r [c = b].
"""

import dataclasses
from collections.abc import Iterable
from typing import Self

import numpy as np


@dataclasses.dataclass(frozen=True)
class CodeCounts:
  """What is asked of a split's windows, added up.

  Attributes:
    uses_V: how often each code occurs.
    pairs_KxVx2: of codes k + 1 frames after another, those that are other than it, and those that are the same.
  """

  uses_V: np.ndarray
  pairs_KxVx2: np.ndarray

  @classmethod
  def of(cls, pieces: Iterable[np.ndarray], codes: int, ahead: int) -> Self:
    """Of windows [N, T, S], piece by piece, and of pairs up to `ahead` frames apart."""
    uses, pairs = np.zeros(codes, int), np.zeros((ahead, codes, 2), int)
    for frames_NxTxS in pieces:
      uses += np.bincount(frames_NxTxS.ravel(), minlength=codes)
      for k in range(ahead):
        after, before = frames_NxTxS[:, k + 1 :], frames_NxTxS[:, : -k - 1]
        kinds = 2 * after.astype(int) + (after == before)
        pairs[k] += np.bincount(kinds.ravel(), minlength=2 * codes).reshape(codes, 2)
    return cls(uses, pairs)

  @property
  def log_unigram_V(self) -> np.ndarray:
    """log u."""
    counts = self.uses_V + 1
    return np.log(counts / counts.sum())

  @property
  def stays_K(self) -> np.ndarray:
    """r: the share of codes that are the same k + 1 frames later."""
    return self.pairs_KxVx2[..., 1].sum(1) / self.pairs_KxVx2.sum((1, 2))


def copy_nats(log_unigram: np.ndarray, stays: np.ndarray, after: np.ndarray, same: np.ndarray) -> np.ndarray:
  """-log p(after | before) of every code, with what is the same before; arrays of one shape."""
  return -np.log((1 - stays) * np.exp(log_unigram[after]) + stays * same)


def baselines(train: CodeCounts, held_out: CodeCounts) -> dict[str, float]:
  """Nats per code; "stays" are shares of codes, of both splits."""
  own = held_out.uses_V / held_out.uses_V.sum()
  unigram, stays, pairs_Vx2 = train.log_unigram_V, train.stays_K[0], held_out.pairs_KxVx2[0]
  code, same = pairs_Vx2.nonzero()  # what never comes may be impossible
  later = pairs_Vx2[code, same] * copy_nats(unigram, stays, code, same)
  return {
    "own_unigram_entropy": float(-(own[own > 0] * np.log(own[own > 0])).sum()),
    "train_unigrams": float(-(own * unigram).sum()),
    "copy_or_unigram_later": float(later.sum() / pairs_Vx2.sum()),
    "stays_train": float(stays),
    "stays": float(held_out.stays_K[0]),
  }
