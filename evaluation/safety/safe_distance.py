"""Safe distances of Responsibility-Sensitive Safety (S. Shalev-Shwartz, S. Shammah and A. Shashua, arXiv:1708.06374).

Each is the gap that suffices if everybody does the worst that is deemed possible for the response time rho and then
reacts as little as is required. [x]+ is max(x, 0); b is braking:

  same way    [v_r rho + a rho^2 / 2 + (v_r + rho a)^2 / (2 b_min) - v_f^2 / (2 b_max)]+
  oncoming    (v_1 + v_1') rho / 2 + v_1'^2 / (2 b_correct) + (v_2 + v_2') rho / 2 + v_2'^2 / (2 b_min),  v' = v + rho a
  sideways    mu + [d(v_1) + d(v_2)]+    d(v) = (v + v') rho / 2 + v' |v'| / (2 c),  v' = v + rho a_side

with v_1 and v_2 sideways as speeds towards the other: d is how far a car comes before its sideways motion has stopped.
The paper writes v'^2, as it assumes v' towards the other; the sign lets a car that moves away count as such. Same way
assumes b_min <= b_max.

The paper leaves the constants open. Two sets are used:

  CAR      a choice: half a second, in which the ego speeds up, then 4 m/s^2 against 8 m/s^2 of who is ahead.
  CAREFUL  of UN Regulation 157, as cut_in.py quotes it: 0.75 s until the brake bites, in which nobody speeds up, then
           the 6 m/s^2 that its rule for cut-ins expects of the ego against the 0.774 g of its careful driver. Of
           distances sideways the regulation says nothing: those of CAR.

Pure jax.numpy over arrays of any one shape, in SI units.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Responses(NamedTuple):
  """rho: s. accelerates, brakes_least, brakes_most: m/s^2, along. brakes_in_lane: least of who is in the right lane.
  side_accelerates, side_brakes: m/s^2. side_margin: m, mu."""

  rho: float
  accelerates: float
  brakes_least: float
  brakes_most: float
  brakes_in_lane: float
  side_accelerates: float
  side_brakes: float
  side_margin: float


CAR = Responses(0.5, 2.0, 4.0, 8.0, 3.0, 0.2, 0.8, 0.1)
CAREFUL = Responses(0.75, 0.0, 6.0, 0.774 * 9.81, 6.0, 0.2, 0.8, 0.1)
SETS = {"rss": CAR, "r157": CAREFUL}


def longitudinal(rear_speed: jax.Array, front_speed: jax.Array, by: Responses) -> jax.Array:
  """m between a follower and who is ahead of it, both driving forwards."""
  after = rear_speed + by.rho * by.accelerates
  rear = 0.5 * (rear_speed + after) * by.rho + after**2 / (2 * by.brakes_least)
  return jnp.maximum(rear - front_speed**2 / (2 * by.brakes_most), 0.0)


def oncoming(own_speed: jax.Array, other_speed: jax.Array, by: Responses) -> jax.Array:
  """m between two that drive towards each other, speeds not negative; the first is in its own lane."""

  def run(speed, brakes):
    after = speed + by.rho * by.accelerates
    return 0.5 * (speed + after) * by.rho + after**2 / (2 * brakes)

  return run(own_speed, by.brakes_in_lane) + run(other_speed, by.brakes_least)


def lateral(towards: jax.Array, other_towards: jax.Array, by: Responses) -> jax.Array:
  """m between the sides of two vehicles with sideways speeds towards each other (negative: away)."""

  def run(speed):
    after = speed + by.rho * by.side_accelerates
    return 0.5 * (speed + after) * by.rho + after * jnp.abs(after) / (2 * by.side_brakes)

  return by.side_margin + jnp.maximum(run(towards) + run(other_towards), 0.0)
