"""Contacts of the ego's box with others: one event each, and whose fault it is.

An agent's contact begins an event unless the two touched within the last second: a box that slides along another
and parts from it for a moment is one event, not many. The event is judged by its first frame, as in nuPlan (H. Caesar
et al., arXiv:2106.11810) and NAVSIM (D. Dauner et al., NeurIPS 2024, arXiv:2406.15349), in this order:

  the ego stands                                                 the other's fault
  the other stands                                               the ego's fault
  the other's centre is more than 150 degrees off the heading    the other's: it ran into the rear
  the ego's front edge touches it                                the ego's
  otherwise (the sides touch)                                    the ego's if it straddles lanes or has left the road

Standing is 0.05 m/s or less. Bearings are taken from the centre of the ego's box.
"""

import math

import jax
import jax.numpy as jnp

from evaluation.metrics import boxes

MERGED = 1.0  # s without contact that end an event
STANDING = 0.05  # m/s
AHEAD, BEHIND = math.radians(30), math.radians(150)


def contacts(ego_Tx5: jax.Array, agents_TxAx5: jax.Array, valid_TxA: jax.Array) -> jax.Array:
  """bool [T, A]: the boxes overlap, both being there."""
  return boxes.overlap(ego_Tx5[:, None], agents_TxAx5) & valid_TxA


def events(contact_TxA: jax.Array, dt: float) -> jax.Array:
  """bool [T, A]: the frames at which a contact begins. dt: seconds between frames."""
  since_TxA = contact_TxA.cumsum(0)
  reach = min(max(round(MERGED / dt), 1), len(contact_TxA))
  before_TxA = jnp.concatenate([jnp.zeros_like(since_TxA[:1]), since_TxA[:-1]])
  earlier_TxA = jnp.concatenate([jnp.zeros_like(since_TxA[:reach]), before_TxA[:-reach]])
  return contact_TxA & (before_TxA == earlier_TxA)


def bearing(ego_Tx5: jax.Array, agents_TxAx5: jax.Array) -> jax.Array:
  """[T, A] rad in [0, pi]: between the ego's heading and the direction to the agent's centre."""
  offset = agents_TxAx5[..., :2] - ego_Tx5[:, None, :2]
  heading = ego_Tx5[:, None, boxes.HEADING]
  ahead = jnp.cos(heading) * offset[..., 0] + jnp.sin(heading) * offset[..., 1]
  left = jnp.cos(heading) * offset[..., 1] - jnp.sin(heading) * offset[..., 0]
  return jnp.abs(jnp.arctan2(left, ahead))


def at_fault(
  ego_Tx5: jax.Array, speed_T: jax.Array, agents_TxAx5: jax.Array, speed_TxA: jax.Array, astray_T: jax.Array
) -> jax.Array:
  """bool [T, A]: whose fault a contact would be at each frame, true for the ego's.

  astray_T: the ego straddles lanes or has left the road. Speeds in m/s; what counts is their size.
  """
  rear = bearing(ego_Tx5, agents_TxAx5) > BEHIND
  front = boxes.overlap(front_edge(ego_Tx5)[:, None], agents_TxAx5)
  standing = (jnp.abs(speed_T) <= STANDING)[:, None]
  met_standing = jnp.abs(speed_TxA) <= STANDING
  return ~standing & (met_standing | (~rear & (front | astray_T[:, None])))


def front_edge(box: jax.Array) -> jax.Array:
  """The front edge of boxes [..., 5], as boxes without length."""
  reach = 0.5 * box[..., boxes.LENGTH]
  heading = box[..., boxes.HEADING]
  x, y = box[..., boxes.X] + reach * jnp.cos(heading), box[..., boxes.Y] + reach * jnp.sin(heading)
  return jnp.stack([x, y, heading, jnp.zeros_like(x), box[..., boxes.WIDTH]], -1)
