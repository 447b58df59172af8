"""Realism of simulated traffic: how likely the logged behaviour is under what was simulated ("WOSAC-type").

R rollouts of one scene of A agents and T steps, and the log of the same agents. For every agent and feature the values
of all rollouts and steps make a distribution, the steps counting as independent draws; every logged step is scored by
it. A continuous feature has a histogram of equal bins over its range with 0.1 added to each (values beyond go into the
outermost bins); an indicator, true of a rollout if it ever was, has two bins alike. With c_b the counts and b(t) the
bin of the log at t,

  l(agent, t) = ln((c_b(t) + 0.1) / sum_b (c_b + 0.1))      likelihood = exp(mean of l over agents and steps)

and realism is the mean of the likelihoods by weight. It is below one even for perfect simulation, because a driver does
not repeat himself; and a world in which nobody moves gets about 0.7, as half of the weight is on contact and road edge
(results/realism). Read it beside such baselines, feature by feature.

Features, ranges, bins and weights follow the Waymo Open Sim Agents Challenge of 2025 (N. Montali et al., NeurIPS 2023,
arXiv:2305.12032), written from its description. Ours in detail, besides the data: gaps are those of boxes.py; the time
to collision is the gap to whoever is next ahead, in the own width, over the closing speed; road edges are those of
road.py, of the worst corner; the indicators are smoothed like the histograms. Numbers are not comparable with the
challenge's.

Masks: steps at which an agent is not valid do not count, in the log or in the rollouts. A feature that takes part
nowhere (no map, signals not known) has count zero and its weight is left out. NaN in a value that counts makes its
feature, and realism, NaN.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from evaluation.metrics import boxes, road
from evaluation.metrics.displacement import Pair

SMOOTHING = 0.1  # per bin


class Histogram(NamedTuple):
  low: float
  high: float
  bins: int
  weight: float


INDICATOR = (-0.5, 1.5, 2)
FEATURES = {
  "linear_speed": Histogram(0, 25, 10, 0.05),  # m/s
  "linear_acceleration": Histogram(-12, 12, 11, 0.05),  # m/s^2
  "angular_speed": Histogram(-0.628, 0.628, 11, 0.05),  # rad/s
  "angular_acceleration": Histogram(-3.14, 3.14, 11, 0.05),  # rad/s^2
  "distance_to_nearest": Histogram(-5, 40, 10, 0.10),  # m
  "collision": Histogram(*INDICATOR, 0.25),
  "time_to_collision": Histogram(0, 5, 10, 0.10),  # s
  "distance_to_road_edge": Histogram(-20, 40, 10, 0.05),  # m, negative on the road
  "off_road": Histogram(*INDICATOR, 0.25),
  "red_light": Histogram(*INDICATOR, 0.05),
}
_SLOWEST = 1e-3  # m/s of closing that counts as closing


class Behaviour(NamedTuple):
  """value: by feature, [T, A], or [A] of indicators. valid: bool alike."""

  value: dict[str, jax.Array]
  valid: dict[str, jax.Array]


def behaviour(
  state_TxAx3: jax.Array,
  size_Ax2: jax.Array,
  valid_TxA: jax.Array,
  ground: road.Road,
  red_TxA: jax.Array | None,
  dt: float,
) -> Behaviour:
  """The features of one course of all agents: x, y, heading at equal steps of dt seconds.

  Speeds and accelerations are central differences, so their first and last one or two steps are not valid.
  red_TxA: bool, the agent passes a red line; None where signals are not known.
  """
  sizes = jnp.broadcast_to(size_Ax2[None], (*valid_TxA.shape, 2))
  box_TxAx5 = boxes.boxes(state_TxAx3[..., :2], state_TxAx3[..., 2], sizes)
  box_TxAx5 = jnp.where(valid_TxA[..., None], box_TxAx5, 0.0)
  velocity_TxAx2, moves = _central(box_TxAx5[..., :2], valid_TxA, dt)
  speed_TxA = jnp.sqrt((velocity_TxAx2**2).sum(-1))
  acceleration_TxA, speeds_up = _central(speed_TxA, moves, dt)
  yaw_rate_TxA, turns = _central(jnp.unwrap(box_TxAx5[..., boxes.HEADING], axis=0), valid_TxA, dt)
  yaw_acceleration_TxA, winds = _central(yaw_rate_TxA, turns, dt)

  gap_TxA = _nearest_gap(box_TxAx5, valid_TxA)
  time_TxA = _time_to_next(box_TxAx5, velocity_TxAx2, moves)
  edge_TxA = road.edge_distance(road.lateral(boxes.corners(box_TxAx5), ground), ground).max(-1)
  mapped_TxA = valid_TxA & ground.mask_S.any()
  seen_A = valid_TxA.any(0)
  value = {
    "linear_speed": speed_TxA,
    "linear_acceleration": acceleration_TxA,
    "angular_speed": yaw_rate_TxA,
    "angular_acceleration": yaw_acceleration_TxA,
    "distance_to_nearest": gap_TxA,
    "collision": ((gap_TxA <= 0) & valid_TxA).any(0),
    "time_to_collision": time_TxA,
    "distance_to_road_edge": edge_TxA,
    "off_road": ((edge_TxA > 0) & mapped_TxA).any(0),
    "red_light": jnp.zeros_like(seen_A) if red_TxA is None else (red_TxA & valid_TxA).any(0),
  }
  valid = {
    "linear_speed": moves,
    "linear_acceleration": speeds_up,
    "angular_speed": turns,
    "angular_acceleration": winds,
    "distance_to_nearest": valid_TxA,
    "collision": seen_A,
    "time_to_collision": moves,
    "distance_to_road_edge": mapped_TxA,
    "off_road": mapped_TxA.any(0),
    "red_light": jnp.zeros_like(seen_A) if red_TxA is None else seen_A,
  }
  return Behaviour({name: one.astype(speed_TxA.dtype) for name, one in value.items()}, valid)


def log_likelihoods(simulated: Behaviour, logged: Behaviour, keep_A: jax.Array) -> dict[str, Pair]:
  """(sum, count) of l by feature, over the agents to keep. `simulated` has a leading axis of rollouts."""
  found = {}
  for name, shape in FEATURES.items():
    # Agents first, and all that was simulated of one in a row.
    value, valid = (jnp.moveaxis(part[name], -1, 0) for part in simulated)
    value, valid = value.reshape(len(value), -1), valid.reshape(len(valid), -1)
    log, counts = (jnp.moveaxis(part[name], -1, 0).reshape(len(value), -1) for part in logged)
    score = jax.vmap(_log_likelihood, (0, 0, 0, None))(value, valid, log, shape)
    counts &= keep_A[:, None]
    found[name] = jnp.where(counts, score, 0.0).sum(), counts.sum()
  return found


def realism(pairs: dict[str, Pair]) -> tuple[dict[str, jax.Array], jax.Array]:
  """Of sums and counts [...]: likelihood by feature, NaN where it takes part nowhere, and their mean by weight over
  those that take part."""
  likelihood = {
    name: jnp.exp(jnp.asarray(value) / jnp.asarray(count)) for name, (value, count) in pairs.items()
  }
  weight = jnp.stack([FEATURES[name].weight * (jnp.asarray(count) > 0) for name, (_, count) in pairs.items()])
  values = jnp.stack(list(likelihood.values()))
  return likelihood, jnp.where(weight > 0, weight * values, 0.0).sum(0) / weight.sum(0)


def _central(value: jax.Array, valid_TxA: jax.Array, dt: float) -> tuple[jax.Array, jax.Array]:
  """Central differences per second over axis 0, and where they are known; zero elsewhere."""
  known = valid_TxA[:-2] & valid_TxA[1:-1] & valid_TxA[2:]
  slope = (value[2:] - value[:-2]) / (2 * dt)
  slope = jnp.where(known.reshape(known.shape + (1,) * (value.ndim - 2)), slope, 0.0)
  ends = ((1, 1),) + ((0, 0),) * (value.ndim - 1)
  return jnp.pad(slope, ends), jnp.pad(known, ends[:2])


def _others(valid_TxA: jax.Array) -> jax.Array:
  """bool [T, A, A]: both are there, and not the same."""
  return valid_TxA[:, :, None] & valid_TxA[:, None] & ~jnp.eye(valid_TxA.shape[1], dtype=bool)[None]


def _nearest_gap(box_TxAx5: jax.Array, valid_TxA: jax.Array) -> jax.Array:
  """[T, A] m: signed distance to the nearest other box; the range's end without one."""
  gap_TxAxA = boxes.signed_distance(box_TxAx5[:, :, None], box_TxAx5[:, None])
  far = FEATURES["distance_to_nearest"].high
  return jnp.where(_others(valid_TxA), gap_TxAxA, far).min(-1)


def _time_to_next(box_TxAx5: jax.Array, velocity_TxAx2: jax.Array, valid_TxA: jax.Array) -> jax.Array:
  """[T, A] s: to whoever is next ahead within the own width, at the present speeds; the range's end without one."""
  offset = box_TxAx5[:, None, :, :2] - box_TxAx5[:, :, None, :2]
  approach = velocity_TxAx2[:, :, None] - velocity_TxAx2[:, None]
  heading = box_TxAx5[:, :, None, boxes.HEADING]
  cos, sin = jnp.cos(heading), jnp.sin(heading)
  ahead, left = cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]
  closing = cos * approach[..., 0] + sin * approach[..., 1]
  turn = box_TxAx5[:, None, :, boxes.HEADING] - heading
  along, across = jnp.abs(jnp.cos(turn)), jnp.abs(jnp.sin(turn))
  length, width = box_TxAx5[..., boxes.LENGTH], box_TxAx5[..., boxes.WIDTH]
  gap = ahead - 0.5 * (length[:, :, None] + along * length[:, None] + across * width[:, None])
  beside = jnp.abs(left) - 0.5 * (width[:, :, None] + along * width[:, None] + across * length[:, None])
  leads = _others(valid_TxA) & (ahead > 0) & (beside < 0)
  next_TxA = jnp.where(leads, gap, jnp.inf).argmin(-1)[..., None]
  gap_TxA, closing_TxA = (jnp.take_along_axis(part, next_TxA, -1)[..., 0] for part in (gap, closing))
  meets = leads.any(-1) & (closing_TxA > _SLOWEST)
  time = jnp.maximum(gap_TxA, 0.0) / jnp.where(meets, closing_TxA, 1.0)
  return jnp.where(meets, time, FEATURES["time_to_collision"].high)


def _log_likelihood(value_N: jax.Array, valid_N: jax.Array, log: jax.Array, shape: Histogram) -> jax.Array:
  """ln of the smoothed share of the log's bin [...] among the values."""

  def bin_of(value):
    place = jnp.floor((value - shape.low) / (shape.high - shape.low) * shape.bins)
    return jnp.clip(place, 0, shape.bins - 1).astype(jnp.int32)

  count_b = (
    jax.ops.segment_sum(valid_N.astype(value_N.dtype), bin_of(value_N), num_segments=shape.bins) + SMOOTHING
  )
  unknown = jnp.isnan(jnp.where(valid_N, value_N, 0.0)).any() | jnp.isnan(log)
  return jnp.where(unknown, jnp.nan, jnp.log(count_b / count_b.sum())[bin_of(log)])
