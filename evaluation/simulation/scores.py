"""How good a simulator is: realism second by second, what commands do, and what happens around a given ego.

Realism (evaluation/metrics/realism.py) is taken of each second of the simulated time by itself, so that every second
has as many samples and its drift with the horizon is that of the simulator, not of the sample size; and of all of it.

An ego's encounters are judged on courses between the moves, linearly interpolated to 0.1 s: contacts that began after
now, whose fault they are (evaluation/metrics/contacts.py), and, at each move, whether the time to collision with
anybody is too short (evaluation/metrics/time_to_collision.py).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data import motion
from evaluation.metrics import boxes, contacts, realism, road, time_to_collision

_FINE = 0.1  # s between the frames of a contact
_OFF = 0.3  # m a corner must be beyond the edge


class Encounters(NamedTuple):
  """Of one ego, bool []: contact, and one that is the other's fault; a time to collision below its bound. Of the
  others that were on the road, counts: off_road, others."""

  contact: jax.Array
  hit: jax.Array
  close: jax.Array
  off_road: jax.Array
  others: jax.Array


def encounters(state_AxTxS, size_Ax2, ego, known_A, ground: road.Road, dt: float) -> Encounters:
  """Of states from now on, T of them, dt seconds apart."""
  others_A = known_A & (jnp.arange(len(known_A)) != ego)
  fine_AxTxS = finer(state_AxTxS, round(dt / _FINE))
  box_AxTx5 = _boxes(fine_AxTxS, size_Ax2)
  agents_TxAx5, speed_TxA = jnp.swapaxes(box_AxTx5, 0, 1), fine_AxTxS[..., motion.SPEED].T
  touch_TxA = contacts.contacts(box_AxTx5[ego], agents_TxAx5, others_A[None])
  touch_TxA &= ~touch_TxA[:1]
  astray = jnp.zeros(len(touch_TxA), bool)
  own_TxA = contacts.at_fault(
    box_AxTx5[ego], fine_AxTxS[ego, :, motion.SPEED], agents_TxAx5, speed_TxA, astray
  )
  first_TxA = touch_TxA & (touch_TxA.cumsum(0) == 1)

  coarse_AxTx5 = _boxes(state_AxTxS, size_Ax2)
  speed_AxT, yaw_rate_AxT = state_AxTxS[..., motion.SPEED], state_AxTxS[..., motion.YAW_RATE]
  time_TxA = time_to_collision.time_to_collision(
    coarse_AxTx5[ego],
    speed_AxT[ego],
    yaw_rate_AxT[ego],
    jnp.swapaxes(coarse_AxTx5, 0, 1),
    speed_AxT.T,
    yaw_rate_AxT.T,
    jnp.broadcast_to(others_A[None], speed_AxT.T.shape),
  )
  moves_T = speed_AxT[ego] > contacts.STANDING
  started_TxA = time_TxA > 0  # what touches already is counted as a contact
  edge_AxT = road.edge_distance(road.lateral(boxes.corners(coarse_AxTx5), ground), ground).max(-1)
  on_A = others_A & (edge_AxT[:, 0] <= 0)
  return Encounters(
    touch_TxA.any(),
    (first_TxA & ~own_TxA).any(),
    ((time_TxA < time_to_collision.BOUND) & started_TxA & moves_T[:, None])[1:].any(),
    (on_A & (edge_AxT > _OFF).any(1)).sum(),
    on_A.sum(),
  )


def courses(state_AxTxS, size_Ax2, known_A, ground: road.Road, dt: float) -> realism.Behaviour:
  """The features of realism of one course of all agents."""
  valid_TxA = jnp.broadcast_to(known_A[None], state_AxTxS.shape[1::-1])
  return realism.behaviour(jnp.swapaxes(state_AxTxS[..., :3], 0, 1), size_Ax2, valid_TxA, ground, None, dt)


def during(found: realism.Behaviour, span: slice) -> realism.Behaviour:
  """The steps `span` of courses [..., T, A]; indicators become those of these steps."""
  value, valid = ({name: part[name] for name in part} for part in found)
  for name, shape in realism.FEATURES.items():
    if shape[:3] != realism.INDICATOR:
      value[name], valid[name] = value[name][..., span, :], valid[name][..., span, :]
  for name, of, beyond in (
    ("collision", "distance_to_nearest", lambda gap: gap <= 0),
    ("off_road", "distance_to_road_edge", lambda edge: edge > 0),
  ):
    value[name] = (beyond(value[of]) & valid[of]).any(-2).astype(value[of].dtype)
    valid[name] = valid[of].any(-2)
  return realism.Behaviour(value, valid)


def likelihoods(simulated: realism.Behaviour, logged: realism.Behaviour, keep_A, spans: list[slice]) -> list:
  """For each span, {feature: (sum, count)} of the log's l. `simulated` has a leading axis of roll-outs."""
  return [realism.log_likelihoods(during(simulated, span), during(logged, span), keep_A) for span in spans]


def realism_of(pairs: dict[str, tuple]) -> np.ndarray:
  """[...] of sums and counts [...]: the mean of the likelihoods by weight, over those with a count."""
  return np.asarray(realism.realism(pairs)[1])


def spearman(x_N: np.ndarray, y_N: np.ndarray, weight_N: np.ndarray | None = None) -> float:
  """Correlation of ranks, ties sharing their mean; weight_N counts how often a pair occurs."""
  weight_N = np.ones(len(x_N)) if weight_N is None else weight_N
  if not weight_N.sum():
    return float("nan")
  ranks = [_ranks(values, weight_N) for values in (x_N, y_N)]
  a, b = (rank - np.average(rank, weights=weight_N) for rank in ranks)
  spread = np.sqrt((weight_N * a * a).sum() * (weight_N * b * b).sum())
  return float((weight_N * a * b).sum() / spread) if spread > 0 else float("nan")


def _ranks(values_N: np.ndarray, weight_N: np.ndarray) -> np.ndarray:
  """Mean rank of each value when it occurs as often as its weight says."""
  _, place_N = np.unique(values_N, return_inverse=True)
  count = np.bincount(place_N, weight_N)
  return (count.cumsum() - 0.5 * count)[place_N]


def _boxes(state_AxTxS, size_Ax2):
  size = jnp.broadcast_to(size_Ax2[:, None], (*state_AxTxS.shape[:2], 2))
  return boxes.boxes(state_AxTxS[..., :2], state_AxTxS[..., motion.HEADING], size)


def finer(state_AxTxS, times: int):
  """Linear interpolation to `times` as many steps."""
  place = np.arange((state_AxTxS.shape[1] - 1) * times + 1) / times
  before = np.minimum(place.astype(int), state_AxTxS.shape[1] - 2)
  share = jnp.asarray(place - before, state_AxTxS.dtype)[None, :, None]
  turned = state_AxTxS.at[..., motion.HEADING].set(jnp.unwrap(state_AxTxS[..., motion.HEADING], axis=1))
  return (1 - share) * turned[:, before] + share * turned[:, before + 1]
