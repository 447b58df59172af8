"""Progress along a route: the arc length of the place on it that a vehicle is nearest to.

A route may cross itself, so the place is looked for near the last one: no further off along the route than the
vehicle has moved, and 5 m. The first place is the nearest of all. Where no place is so near, the last one stays.
"""

import jax
import jax.numpy as jnp

_SLACK = 5.0  # m


def arcs(position_Tx2: jax.Array, route_Px2: jax.Array) -> jax.Array:
  """[T] m along a route [P, 2], whose last point may be repeated."""
  step_Px2 = jnp.diff(route_Px2, axis=0)
  length_P = jnp.hypot(step_Px2[:, 0], step_Px2[:, 1])
  start_P = jnp.cumsum(length_P) - length_P
  offset = position_Tx2[:, None] - route_Px2[None, :-1]
  share_TxP = (offset * step_Px2[None]).sum(-1) / jnp.where(length_P > 0, length_P**2, 1.0)[None]
  share_TxP = jnp.clip(share_TxP, 0, 1)
  off = offset - share_TxP[..., None] * step_Px2[None]
  away_TxP = jnp.hypot(off[..., 0], off[..., 1])
  arc_TxP = start_P[None] + share_TxP * length_P[None]
  moved_Tx2 = jnp.diff(position_Tx2, axis=0, prepend=position_Tx2[:1])
  reach_T = jnp.hypot(moved_Tx2[:, 0], moved_Tx2[:, 1]) + _SLACK

  def place(last, at):
    arc_P, away_P, reach = at
    away_P = jnp.where(jnp.abs(arc_P - last) <= reach, away_P, jnp.inf)
    arc = jnp.where(jnp.isinf(away_P).all(), last, arc_P[away_P.argmin()])
    return arc, arc

  first = arc_TxP[0, away_TxP[0].argmin()]
  return jax.lax.scan(place, first, (arc_TxP, away_TxP, reach_T))[1]
