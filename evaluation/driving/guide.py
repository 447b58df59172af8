"""What speaks against a move, besides the model: that it leads off the lane, or over a line whose light is not green.

A model that has only seen drivers in their lanes has not seen how to come back to one. As in guided generation of
traffic (Z. Zhong et al., ICRA 2023, arXiv:2210.17366), its log probabilities are left as they are and penalties are
added; where nothing speaks against any move, nothing changes. With l the lateral offset that a move's direction leads
to a second from now, and s the way from the front to a closed line,

  lane    -2 (sqrt(1 + (l / 0.5 m)^2) - 1)
  light   -8 where a move leaves less way than braking at 3 m/s^2 needs, if braking at 4 m/s^2 could still stop now
"""

import jax.numpy as jnp

from data import motion
from data.context import Surroundings, frenet
from data.schema import Signal

_LANE, _WIDTH = 2.0, 0.5  # nats, m
_AHEAD, _NEAR = 1.0, 4.0  # s and at least m that a direction is followed
_LIGHT, _COMFORT, _HARD, _MARGIN, _STEP = 8.0, 3.0, 4.0, 1.0, 0.5  # nats, m/s^2, m/s^2, m, s


def weights(state_ExS, length_E, around: Surroundings):
  """Nats [E, V] to add to the log probabilities of every move.

  Args: state_ExS: data.motion's state of the egos. length_E: m. around: theirs, with one viewer each.
  """
  acceleration_V, _ = motion.split(jnp.arange(motion.VOCABULARY), jnp)
  speed, heading = state_ExS[:, motion.SPEED, None], state_ExS[:, motion.HEADING, None]
  way_ExW = heading + _STEP * jnp.asarray(motion.YAW_RATES, jnp.float32)[None]
  far = jnp.maximum(_AHEAD * speed, _NEAR)
  place = state_ExS[:, None, :2] + far[..., None] * jnp.stack([jnp.cos(way_ExW), jnp.sin(way_ExW)], -1)
  _, lateral, _ = frenet(place, around, jnp)
  lane_ExW = -_LANE * (jnp.sqrt(1 + (lateral[:, 0] / _WIDTH) ** 2) - 1)
  lane = jnp.tile(lane_ExW, (1, len(motion.ACCELERATIONS)))  # where a move leads hangs on its yaw rate alone

  arc, _, _ = frenet(state_ExS[:, None, :2], around, jnp)
  left = around.stop[:, 0] - arc[:, 0] - 0.5 * length_E[:, None] - _MARGIN  # [E, Q]
  closed = (around.signal[:, 0] == int(Signal.RED)) | (around.signal[:, 0] == int(Signal.YELLOW))
  heeded = closed & (left > -_MARGIN) & (speed**2 <= 2 * _HARD * jnp.maximum(left, 0.05))
  room = jnp.where(heeded, left, jnp.inf).min(-1, keepdims=True)
  after = jnp.maximum(speed + _STEP * acceleration_V[None], 0.0)
  needed = 0.5 * _STEP * (speed + after) + after**2 / (2 * _COMFORT)
  light = -_LIGHT * ((needed > room) & (after > 0))
  return jnp.where(around.spacing > 0, lane, 0.0) + light


def of_all(state_BxAxS, around: Surroundings):
  """The same for all agents of a window at one step [B, A, V]; around: with axes [B, 1, A, ...]."""
  b, a = state_BxAxS.shape[:2]
  each = {name: getattr(around, name) for name in ("path", "spacing", "limit", "junction", "stop", "signal")}
  each = {name: value.reshape(b * a, 1, *value.shape[3:]) for name, value in each.items()}
  length = jnp.broadcast_to(around.size[:, 0, :, 0], (b, a)).reshape(-1)
  return weights(state_BxAxS.reshape(b * a, -1), length, around._replace(**each)).reshape(b, a, -1)
