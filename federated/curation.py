"""What a vehicle logs of all that it drives: records that a model did not expect, is unsure of, or that look like none.

A score says how much a record is worth, higher for more; its scale means nothing. So a fleet first counts its scores
on ordinary driving, in numbers that add up over vehicles and tell of no record: how many lie in each bin, and how far
those above the quantile u exceed it. The tail of a score s is then, with p_u the share above u and b the mean excess,

  P(S >= s) = p_u exp(-(s - u) / b) for s > u, else the share that was counted

(exponential excesses: J. Pickands, Annals of Statistics 3(1), 1975), and a record is worth -log P of its rarest score.
A vehicle keeps the worthiest of what it drives, and sends no more than its share of bytes.

Scores are of successive moves of one agent, the greatest of a record: events last longer than a move.
"""

import dataclasses
import heapq

import jax
import jax.numpy as jnp
import numpy as np

BINS = 4096
FEW = 20  # excesses of which no mean is taken


def longest_run(values_BxTxA: jax.Array, mask_BxTxA: jax.Array, span: int) -> jax.Array:
  """[B]: the greatest sum over `span` successive moves of one agent; moves that are not supervised count 0."""
  inside = jnp.where(mask_BxTxA, values_BxTxA, 0.0)
  total = jnp.cumsum(jnp.pad(inside, ((0, 0), (1, 0), (0, 0))), 1)
  return (total[:, span:] - total[:, :-span]).max((1, 2))


def surprise(
  logits_BxTxAxV: jax.Array, tokens_BxTxA: jax.Array, mask_BxTxA: jax.Array, span: int
) -> jax.Array:
  """[B]: nats of what was done, above what the model expected of itself (its entropy)."""
  log = jax.nn.log_softmax(logits_BxTxAxV.astype(jnp.float32))
  nats = -jnp.take_along_axis(log, tokens_BxTxA[..., None].astype(jnp.int32), -1)[..., 0]
  return longest_run(nats - _entropy(log), mask_BxTxA, span)


def uncertainty(logits_BxTxAxV: jax.Array, mask_BxTxA: jax.Array, span: int) -> jax.Array:
  """[B]: entropy of the moves that the model foresees."""
  log = jax.nn.log_softmax(logits_BxTxAxV.astype(jnp.float32))
  return longest_run(_entropy(log), mask_BxTxA, span)


def disagreement(
  one_BxTxAxV: jax.Array, other_BxTxAxV: jax.Array, mask_BxTxA: jax.Array, span: int
) -> jax.Array:
  """[B]: Jensen-Shannon divergence of what two models foresee, nats."""
  one, other = (jax.nn.log_softmax(x.astype(jnp.float32)) for x in (one_BxTxAxV, other_BxTxAxV))
  middle = jnp.logaddexp(one, other) - jnp.log(2.0)
  apart = (jnp.exp(one) * (one - middle) + jnp.exp(other) * (other - middle)).sum(-1) / 2
  return longest_run(apart, mask_BxTxA, span)


def _entropy(log_V: jax.Array) -> jax.Array:
  return -(jnp.exp(log_V) * log_V).sum(-1)


def unexpected(apart_BxTxA: jax.Array, mask_BxTxA: jax.Array, span: int) -> jax.Array:
  """[B]: how far what was done adds up on one side of the model's mean. apart: done less expected, any unit."""
  return jnp.maximum(*(longest_run(side * apart_BxTxA, mask_BxTxA, span) for side in (1, -1)))


def sustained(features_BxTxAxF: jax.Array, mask_BxTxA: jax.Array, span: int) -> jax.Array:
  """[B, 2 F]: the highest value that an agent keeps each feature up at for `span` moves, then the lowest, negated.

  0 where nobody moves for so long.
  """
  both = jnp.concatenate([features_BxTxAxF, -features_BxTxAxF], -1).astype(jnp.float32)
  both = jnp.where(mask_BxTxA[..., None], both, -jnp.inf)
  moves = both.shape[1] - span + 1
  kept = jnp.stack([both[:, k : k + moves] for k in range(span)]).min(0).max((1, 2))
  return jnp.where(jnp.isfinite(kept), kept, 0.0)


def rarity(has_NxG: np.ndarray, counts_G: np.ndarray, total: int) -> np.ndarray:
  """[N]: -log of how often the rarest tag that a record bears was counted; 0 without any."""
  own_G = -np.log((np.asarray(counts_G, np.float64) + 1) / (total + 1))
  return np.where(has_NxG, own_G[None], 0.0).max(1)


@dataclasses.dataclass(frozen=True)
class Tail:
  """Of one score under ordinary driving. low, high: of the bins, counts: [BINS]. cut, share, excess: u, p_u and b."""

  low: float
  high: float
  counts: np.ndarray
  cut: float
  share: float
  excess: float


def count(scores_N: np.ndarray, low: float, high: float) -> np.ndarray:
  """[BINS]: how many scores lie in each bin, the outermost for all beyond. First pass of a vehicle."""
  return np.bincount(_bins(scores_N, low, high), minlength=BINS)


def _bins(scores_N: np.ndarray, low: float, high: float) -> np.ndarray:
  place = np.floor((np.asarray(scores_N, np.float64) - low) / (high - low) * BINS)
  return np.clip(place, 0, BINS - 1).astype(int)


def quantile(counts: np.ndarray, low: float, high: float, share: float) -> float:
  """The lowest edge of a bin with at most `share` of all scores in the bins above it."""
  above = _above(counts) / counts.sum()
  enough = np.flatnonzero(above <= share)
  return low + (high - low) * (enough[0] if len(enough) else BINS) / BINS


def _above(counts: np.ndarray) -> np.ndarray:
  return counts[::-1].cumsum()[::-1]


def beyond(scores_N: np.ndarray, cut: float) -> tuple[float, int]:
  """(sum of excesses, how many) of the scores above the cut. Second pass of a vehicle."""
  above = np.asarray(scores_N, np.float64) - cut
  return float(above[above > 0].sum()), int((above > 0).sum())


def tail(counts: np.ndarray, low: float, high: float, cut: float, excesses: tuple[float, int]) -> Tail:
  """What both passes, added up over vehicles, say of a score; of few excesses the counted shares alone."""
  total, number = excesses
  if number < FEW:
    return Tail(low, high, counts, np.inf, 0.0, 0.0)
  return Tail(low, high, counts, cut, number / counts.sum(), max(total / number, (high - low) / BINS))


def worth(scores_N: np.ndarray, known: Tail) -> np.ndarray:
  """[N]: -log P(S >= s); beyond the cut it goes on rising past every score that was counted."""
  s, total = np.asarray(scores_N, np.float64), known.counts.sum()
  share = np.maximum(_above(known.counts)[_bins(s, known.low, known.high)], 1) / total
  if not known.share:
    return -np.log(share)
  inside = -np.log(np.maximum(share, known.share))
  return np.where(s > known.cut, -np.log(known.share) + (s - known.cut) / known.excess, inside)


class Shelf:
  """What a vehicle keeps until it can send: the worthiest records, in `room` bytes; it may send `share` of all bytes.

  What is driven is seen once. A record that is no longer among the worthiest is let go.
  """

  def __init__(self, share: float, room: int):
    self.share, self.room = share, room
    self.records, self.driven, self.used = 0, 0, 0
    self._kept: list[tuple[float, int, int]] = []  # worth, number, bytes; the least worthy first

  def add(self, worth: float, size: int) -> None:
    """The next record, numbered from 0."""
    heapq.heappush(self._kept, (worth, self.records, size))
    self.records += 1
    self.driven, self.used = self.driven + size, self.used + size
    while self.used > self.room:
      self.used -= heapq.heappop(self._kept)[2]

  def send(self) -> list[int]:
    """Numbers of the worthiest records that fit into the share of what was driven."""
    left, sent = self.share * self.driven, []
    for _, number, size in sorted(self._kept, reverse=True):
      if size <= left:
        left -= size
        sent.append(number)
    return sent
