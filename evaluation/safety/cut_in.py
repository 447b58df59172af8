"""Cut-ins that a careful driver would have survived, in closed form: the set in which a collision counts.

A vehicle ahead in the next lane, slower than the ego, moves over at a steady lateral speed and keeps its own speed. The
ego follows its lane at a constant speed until its driver brakes. Time counts from the beginning of the lane change:

  gap(t) = gap_0 - (v - v_other) t + braked(t - t_b)      braked'' = min(jerk s, a), s since braking began

There is a collision if the gap is not above zero once the boxes overlap sideways, unless the ego has passed by then.
The gap falls until both speeds are equal, so its least value is that at the later of the two moments.

Three models say from when on and how hard is braked:

  careful      of UN Regulation 157: risk is perceived 0.4 s after the other has left its lane's centre by 0.375 m, the
               brake bites 0.75 s later, to 0.774 g at 12.65 m/s^3
  regulation   of UN Regulation 157: collisions are to be avoided where the time to collision, when the other crosses
               the line, exceeds v_rel / (2 * 6 m/s^2) + 0.35 s: that is 6 m/s^2 at once, 0.35 s after the crossing
  rss          the gap when the sideways distance is first too small is at least the safe one (safe_distance.py)

The constants of Regulation 157 are quoted from secondary sources and have not been checked against its current series
of amendments; the 0.375 m, which say when a lane change is seen, least of all.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from evaluation.safety import safe_distance

PERCEPTION, DELAY = 0.4, 0.75  # s
DECELERATION, JERK = 0.774 * 9.81, 12.65  # m/s^2, m/s^3
WANDER = 0.375  # m
RULE_DECELERATION, RULE_DELAY = 6.0, 0.35  # m/s^2, s

Array = Any  # numpy as they are laid out, jax.numpy under jit


class CutIn(NamedTuple):
  """Arrays of one shape. speed, other_speed: m/s along the lane. gap: m from bumper to bumper at the beginning.
  lateral_speed: m/s, above zero. lane_width, width, length: m, of the lanes and of both vehicles."""

  speed: Array
  other_speed: Array
  gap: Array
  lateral_speed: Array
  lane_width: Array
  width: Array
  length: Array


def crossing(case: CutIn) -> jax.Array:
  """s until the other's side crosses the line between the lanes; it began in the middle of its own."""
  return 0.5 * (case.lane_width - case.width) / case.lateral_speed


def overlapping(case: CutIn) -> jax.Array:
  """s until the vehicles overlap sideways: the ego in the middle of its lane, both as wide."""
  return (case.lane_width - case.width) / case.lateral_speed


def gap_at(
  case: CutIn, seconds: jax.Array, brake_from: jax.Array, deceleration: float, jerk: float
) -> jax.Array:
  """m after `seconds`, if the ego brakes from `brake_from` s on until it is no faster than the other."""
  closing = jnp.maximum(case.speed - case.other_speed, 0.0)
  lasts = _until_shed(closing, deceleration, jerk)
  braking = jnp.clip(seconds - brake_from, 0.0, lasts)
  return case.gap - closing * jnp.minimum(seconds, brake_from + lasts) + _braked(braking, deceleration, jerk)


def least_gap(case: CutIn, brake_from: jax.Array, deceleration: float, jerk: float) -> jax.Array:
  """m: the least gap from the overlap sideways on."""
  closing = jnp.maximum(case.speed - case.other_speed, 0.0)
  equal = brake_from + _until_shed(closing, deceleration, jerk)
  return gap_at(case, jnp.maximum(overlapping(case), equal), brake_from, deceleration, jerk)


def collides(case: CutIn, brake_from: jax.Array, deceleration: float, jerk: float) -> jax.Array:
  """bool: the boxes touch. An ego that is past the other when they would overlap sideways has passed."""
  passed = gap_at(case, overlapping(case), brake_from, deceleration, jerk) < -2 * case.length
  return (least_gap(case, brake_from, deceleration, jerk) <= 0) & ~passed


def careful_brakes(case: CutIn) -> jax.Array:
  """s at which the careful driver's brake bites."""
  return WANDER / case.lateral_speed + PERCEPTION + DELAY


def preventable(case: CutIn) -> dict[str, jax.Array]:
  """bool by model: the collision is avoided by a driver who acts as the model says."""
  closing = case.speed - case.other_speed
  at_line = crossing(case)
  room = case.gap - closing * at_line
  needed = closing * (closing / (2 * RULE_DECELERATION) + RULE_DELAY)
  unsafe = safe_distance.lateral(case.lateral_speed, jnp.zeros_like(case.speed), safe_distance.CAR)
  beside = case.lane_width - case.width
  seen = jnp.maximum(beside - unsafe, 0.0) / case.lateral_speed
  safe = safe_distance.longitudinal(case.speed, case.other_speed, safe_distance.CAR)
  return {
    "careful": ~collides(case, careful_brakes(case), DECELERATION, JERK),
    "regulation": (closing <= 0) | (room > needed),
    "rss": (closing <= 0) | (case.gap - closing * seen >= safe),
  }


def grid(
  speeds, closings, gaps, laterals, lane_width: float = 3.5, width: float = 1.9, length: float = 4.8
) -> CutIn:
  """Every combination, float32 [speeds, closing speeds, gaps, lateral speeds]; the other never drives backwards."""
  speed, closing, gap, lateral = np.meshgrid(speeds, closings, gaps, laterals, indexing="ij")
  sizes = (np.full(speed.shape, value) for value in (lane_width, width, length))
  parts = (speed, np.maximum(speed - closing, 0.0), gap, lateral, *sizes)
  return CutIn(*(np.asarray(part, np.float32) for part in parts))


def _until_shed(closing, deceleration: float, jerk: float):
  """s of braking until `closing` m/s are gone."""
  rising = deceleration / jerk
  within = jnp.sqrt(2 * closing / jerk)
  return jnp.where(within <= rising, within, closing / deceleration + 0.5 * rising)


def _braked(seconds, deceleration: float, jerk: float):
  """m by which braking so long falls short of not braking."""
  rising = deceleration / jerk
  early, late = jnp.minimum(seconds, rising), jnp.maximum(seconds - rising, 0.0)
  return jerk * early**3 / 6 + 0.5 * deceleration * (rising + late) * late
