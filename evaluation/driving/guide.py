"""What speaks against a move, besides the model: that it leads off the lane, too fast into a bend, over a line whose
light is not green, or into somebody.

A model that has only seen drivers in their lanes has not seen how to come back to one. As in guided generation of
traffic (Z. Zhong et al., ICRA 2023, arXiv:2210.17366), its log probabilities are left as they are and penalties are
added; where nothing speaks against any move, nothing changes. With l the lateral offset to which a move leads that goes
on for a second, s the way from the front to a closed line, and e the speed in excess of what lets every bend ahead be
driven at 3 m/s^2 to the side after braking at 2 m/s^2,

  lane    -2 (sqrt(1 + (l / 0.5 m)^2) - 1), twice that on the route itself
  light   -8 where a move leaves less way than braking at 3 m/s^2 needs, if braking at 4 m/s^2 could still stop now
  bend    -4 (sqrt(1 + (e / 0.5 m/s)^2) - 1)
  others  as `conflicts.weights` says

The planned path of a window is too coarse for the last two (its points lie up to 5 m apart): they ask for the route.
"""

import jax.numpy as jnp

from data import motion
from data.context import Surroundings, frenet
from data.schema import Signal
from evaluation.driving import conflicts
from evaluation.driving.conflicts import Others

_LANE, _ON_ROUTE, _WIDTH = 2.0, 4.0, 0.5  # nats, nats, m
_AHEAD, _NEAR, _LONGEST = 1.0, 4.0, 2.0  # s, at least m, and at most s that a move is followed
_LIGHT, _COMFORT, _HARD, _MARGIN, _STEP = 8.0, 3.0, 4.0, 1.0, 0.5  # nats, m/s^2, m/s^2, m, s
_BEND, _EXCESS, _SIDEWAYS, _EASY = 4.0, 0.5, 3.0, 2.0  # nats, m/s, m/s^2, m/s^2
_CHORD = 8  # m over which a bend is measured: maps are made of straight pieces


def weights(state_ExS, length_E, around: Surroundings):
  """Nats [E, V] of lane and light to add to the log probabilities of every move.

  Args: state_ExS: data.motion's state of the egos. length_E: m. around: theirs, with one viewer each.
  """
  return jnp.where(around.spacing > 0, _lane(state_ExS, around, _LANE), 0.0) + _light(
    state_ExS, length_E, around
  )


def on_route(state_ExS, length_E, around: Surroundings, way_ExKx2, others: Others):
  """All of the above; way: m, points of the route a metre apart, from somewhat behind the egos on."""
  line = around._replace(path=way_ExKx2[:, None], spacing=jnp.ones_like(around.spacing))
  arc_E = frenet(state_ExS[:, None, :2], line, jnp)[0][:, 0, 0]
  excess = jnp.maximum(_after(state_ExS) - allowed(way_ExKx2, arc_E)[:, None], 0.0)
  bend = -_BEND * (jnp.sqrt(1 + (excess / _EXCESS) ** 2) - 1)
  meeting = conflicts.weights(state_ExS, way_ExKx2, arc_E, others)
  ahead = jnp.where(around.spacing > 0, _lane(state_ExS, line, _ON_ROUTE) + bend + meeting, 0.0)
  return ahead + _light(state_ExS, length_E, around)


def of_all(state_BxAxS, around: Surroundings):
  """`weights` for all agents of a window at one step [B, A, V]; around: with axes [B, 1, A, ...]."""
  b, a = state_BxAxS.shape[:2]
  each = {name: getattr(around, name) for name in ("path", "spacing", "limit", "junction", "stop", "signal")}
  each = {name: value.reshape(b * a, 1, *value.shape[3:]) for name, value in each.items()}
  length = jnp.broadcast_to(around.size[:, 0, :, 0], (b, a)).reshape(-1)
  return weights(state_BxAxS.reshape(b * a, -1), length, around._replace(**each)).reshape(b, a, -1)


def allowed(way_ExKx2, arc_E):
  """m/s [E]: the highest speed from which every bend of the way ahead of `arc_E` m can be driven."""
  step = way_ExKx2[:, _CHORD:] - way_ExKx2[:, :-_CHORD]
  into, out = step[:, :-_CHORD], step[:, _CHORD:]
  cross = into[..., 0] * out[..., 1] - into[..., 1] * out[..., 0]
  turn = jnp.abs(jnp.arctan2(cross, (into * out).sum(-1)))  # over _CHORD metres; 0 where the way has ended
  before = jnp.arange(turn.shape[1])[None] + _CHORD - arc_E[:, None]
  bend = _SIDEWAYS * _CHORD / jnp.maximum(turn, 1e-3)
  return jnp.sqrt(jnp.where(before > -_CHORD, bend + 2 * _EASY * jnp.maximum(before, 0.0), jnp.inf).min(1))


def _lane(state_ExS, line: Surroundings, nats: float):
  """Where a move leads, going on for n steps, hangs on its yaw rate w alone: the mean of its headings, n + 1 half steps
  of w further."""
  speed, heading = state_ExS[:, motion.SPEED, None], state_ExS[:, motion.HEADING, None]
  far = jnp.maximum(_AHEAD * speed, _NEAR)
  seconds = jnp.minimum(far / jnp.maximum(speed, 0.1), _LONGEST)
  way_ExW = heading + 0.5 * (seconds + _STEP) * jnp.asarray(motion.YAW_RATES, jnp.float32)[None]
  place = state_ExS[:, None, :2] + far[..., None] * jnp.stack([jnp.cos(way_ExW), jnp.sin(way_ExW)], -1)
  _, lateral, _ = frenet(place, line, jnp)
  lane_ExW = -nats * (jnp.sqrt(1 + (lateral[:, 0] / _WIDTH) ** 2) - 1)
  return jnp.tile(lane_ExW, (1, len(motion.ACCELERATIONS)))


def _light(state_ExS, length_E, around: Surroundings):
  speed, after = state_ExS[:, motion.SPEED, None], _after(state_ExS)
  arc, _, _ = frenet(state_ExS[:, None, :2], around, jnp)
  left = around.stop[:, 0] - arc[:, 0] - 0.5 * length_E[:, None] - _MARGIN  # [E, Q]
  closed = (around.signal[:, 0] == int(Signal.RED)) | (around.signal[:, 0] == int(Signal.YELLOW))
  heeded = closed & (left > -_MARGIN) & (speed**2 <= 2 * _HARD * jnp.maximum(left, 0.05))
  room = jnp.where(heeded, left, jnp.inf).min(-1, keepdims=True)
  needed = 0.5 * _STEP * (speed + after) + after**2 / (2 * _COMFORT)
  return -_LIGHT * ((needed > room) & (after > 0))


def _after(state_ExS):
  """m/s [E, V]: the speed that a move leads to."""
  acceleration_V, _ = motion.split(jnp.arange(motion.VOCABULARY), jnp)
  return jnp.maximum(state_ExS[:, motion.SPEED, None] + _STEP * acceleration_V[None], 0.0)
