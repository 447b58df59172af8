"""What a model has to beat: constant velocity for trajectories, count tables for motion tokens.

A token baseline is a table of log probabilities [V, V]: rows are an agent's previous move, columns its next.
The previous move is read from the state, so it is known at the first step of a window too; a track's first
frame counts as having kept its velocity. With counts c(m', m), V moves and unigram p:

  unigram            p(m) = (c(m) + 1/2) / (c + V/2)
  bigram             (c(m', m) + k p(m)) / (c(m') + k)    k by leave-one-out likelihood
  repeat             (1 - e) [m = m'] + e p(m)            e by maximum likelihood
  constant_velocity  (1 - e) [m = keep] + e / V           e by maximum likelihood

The bigram prior is the Dirichlet smoothing of D. MacKay and L. Peto, "A hierarchical Dirichlet language
model", Natural Language Engineering 1995.
"""

from collections.abc import Iterable, Mapping

import jax
import numpy as np

from data import motion

Tables = dict[str, np.ndarray]

_STRENGTHS = 2.0 ** np.arange(0, 15)
_SHARES = np.concatenate([[1e-4, 1e-3], np.arange(0.01, 1.0, 0.01)])


def constant_velocity(history_TxAx2: jax.Array, lookback: int, steps: int) -> jax.Array:
  """[A, N, 2] m: straight on from the last of the observed positions.

  Args:
    history_TxAx2: observed positions in m, all valid. lookback: frames over which the velocity is taken.
    steps: N, in the same frame rate.
  """
  last_Ax2 = history_TxAx2[-1]
  velocity_Ax2 = (last_Ax2 - history_TxAx2[-1 - lookback]) / lookback  # per frame
  ahead_N = jax.numpy.arange(1, steps + 1, dtype=history_TxAx2.dtype)
  return last_Ax2[:, None, :] + velocity_Ax2[:, None, :] * ahead_N[None, :, None]


def fit(windows: Iterable[Mapping[str, np.ndarray]]) -> Tables:
  """Name to log probabilities float64 [V, V], from training windows (single or stacked, see data.windows)."""
  size = motion.VOCABULARY
  pairs = np.zeros(size * size)
  for window in windows:
    mask = window["mask_TxA"]
    before, after = previous_moves(window["state_TxAxS"][mask]), window["tokens_TxA"][mask].astype(np.int64)
    pairs += np.bincount(before * size + after, minlength=size * size)
  counts = pairs.reshape(size, size)
  unigram = (counts.sum(0) + 0.5) / (counts.sum() + 0.5 * size)
  keep = np.zeros(size)
  keep[motion.KEEP] = 1.0
  everywhere = np.ones((size, 1))
  return {
    "unigram": np.log(everywhere * unigram),
    "bigram": np.log(_smoothed(counts, unigram)),
    "repeat": np.log(_mixed(counts, np.eye(size), everywhere * unigram)),
    "constant_velocity": np.log(_mixed(counts, everywhere * keep, np.full((size, size), 1 / size))),
  }


def evaluate(
  tables: Tables, windows: Iterable[Mapping[str, np.ndarray]], domains: int
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
  """Baseline to {"all", "moving"} to (sum of nats, count of tokens), float64 [domains] each."""
  slices = ("all", "moving")
  nats = {name: {part: np.zeros(domains) for part in slices} for name in tables}
  counts = {part: np.zeros(domains) for part in slices}
  for window in windows:
    mask = window["mask_TxA"]
    home = np.broadcast_to(np.asarray(window["domain"])[..., None, None], mask.shape)[mask]
    moves = np.broadcast_to(window["moving_A"][..., None, :], mask.shape)[mask]
    before, after = previous_moves(window["state_TxAxS"][mask]), window["tokens_TxA"][mask]
    for part, weight in zip(slices, (np.ones(len(home)), moves.astype(float)), strict=True):
      counts[part] += np.bincount(home, weight, minlength=domains)
      for name, table in tables.items():
        nats[name][part] += np.bincount(home, -table[before, after] * weight, minlength=domains)
  return {name: {part: (sums[part], counts[part]) for part in slices} for name, sums in nats.items()}


def previous_moves(state_NxS: np.ndarray) -> np.ndarray:
  """int64 [N]: the move that produced a state, from its acceleration and yaw rate."""
  acceleration = np.abs(state_NxS[:, motion.ACCELERATION, None] - np.asarray(motion.ACCELERATIONS)).argmin(-1)
  yaw_rate = np.abs(state_NxS[:, motion.YAW_RATE, None] - np.asarray(motion.YAW_RATES)).argmin(-1)
  return acceleration * len(motion.YAW_RATES) + yaw_rate


def _smoothed(counts: np.ndarray, unigram: np.ndarray) -> np.ndarray:
  """Bigram probabilities with the prior strength that best predicts each move from all the others."""
  seen = counts > 0
  rows = counts.sum(-1, keepdims=True)

  def left_out(strength):
    others = counts - 1 + strength * unigram
    return (
      counts * np.log(others / (np.maximum(rows, 1) - 1 + strength), where=seen, out=np.zeros_like(counts))
    ).sum()

  strength = max(_STRENGTHS, key=left_out)
  return (counts + strength * unigram) / (rows + strength)


def _mixed(counts: np.ndarray, guess: np.ndarray, rest: np.ndarray) -> np.ndarray:
  """(1 - e) guess + e rest with the share e that makes the counts most likely."""
  share = max(_SHARES, key=lambda e: (counts * np.log((1 - e) * guess + e * rest)).sum())
  return (1 - share) * guess + share * rest
