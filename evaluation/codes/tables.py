"""What codes can be told without a model: by how often each occurs, and by copying an earlier frame.

With the unigrams u of the training windows (a count of one for each code to begin with) and the share r of their codes
that are the same k frames later, copying gives the code c at a place that held b k frames before the probability

  p(c | b) = (1 - r) u(c) + r [c = b].
"""

import numpy as np


def log_unigrams(frames_NxTxS: np.ndarray, codes: int) -> np.ndarray:
  """[codes]: log u."""
  counts = np.bincount(frames_NxTxS.ravel(), minlength=codes) + 1
  return np.log(counts / counts.sum())


def stay_share(frames_NxTxS: np.ndarray, frames: int = 1) -> float:
  """r: the share of codes that are the same so many frames later."""
  return float((frames_NxTxS[:, frames:] == frames_NxTxS[:, :-frames]).mean())


def copy_nats(log_unigram: np.ndarray, stays: float, before: np.ndarray, after: np.ndarray) -> np.ndarray:
  """-log p(after | before) of every code, of two arrays of one shape."""
  return -np.log((1 - stays) * np.exp(log_unigram[after]) + stays * (after == before))


def baselines(train_NxTxS: np.ndarray, held_out_NxTxS: np.ndarray, codes: int) -> dict[str, float]:
  """Nats per code; "stays" are shares of codes, of both splits."""
  own = np.bincount(held_out_NxTxS.ravel(), minlength=codes) / held_out_NxTxS.size
  unigram, stays = log_unigrams(train_NxTxS, codes), stay_share(train_NxTxS)
  return {
    "own_unigram_entropy": float(-(own[own > 0] * np.log(own[own > 0])).sum()),
    "train_unigrams": float(-unigram[held_out_NxTxS].mean()),
    "copy_or_unigram_later": float(
      copy_nats(unigram, stays, held_out_NxTxS[:, :-1], held_out_NxTxS[:, 1:]).mean()
    ),
    "stays_train": stays,
    "stays": stay_share(held_out_NxTxS),
  }
