"""Whom a move leads into: the ego on its way, against everybody else going on as they go.

A move leads into somebody when both ways on from it end in contact within 5 s: braking at 2 m/s^2, and speeding up by
1.5 m/s^2, as who has begun to cross does best to be gone. Others keep their speed, and their yaw rate for a second and
a half. Nobody knows that long where they will be: who comes the opposite way is expected to keep to its side after a
second and a half, and an ego that brakes minds after 3 s only those who stand or go the same way. Boxes are rows of
discs. Who is behind the ego looks after himself. With t the time of first contact and c the depth of the overlap in m,
the way on for which it is less costs

  -16 (1 - t / 6 s) min(c / 0.5, 1)
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from data import motion

Array = Any

_NATS, _FADE, _DEPTH = 16.0, 6.0, 0.5  # nats, s, m
_BRAKE, _GO, _STEP = 2.0, 1.5, 0.5  # m/s^2, m/s^2, s of a move
_TIMES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)  # s
_TURNING = 1.5  # s for which a yaw rate goes on
_OPPOSITE, _SAME = -0.8, 0.8  # cosine between courses
_FORESEEN, _STANDS = 3.0, 1.0  # s, m/s
_ASIDE = 0.4  # m left between two rows of discs, of which corners stick out by as much
_OWN_DISCS, _DISCS = 3, 5


class Others(NamedTuple):
  """The ego first. state: [E, A, S] of data.motion. valid: [E, A]. size: [E, A, 2] m."""

  state: Array
  valid: Array
  size: Array


def weights(state_ExS, way_ExKx2, arc_E, others: Others):
  """Nats [E, V] to add; way: m, points a metre apart, on which the egos are at `arc_E` m."""
  times = jnp.asarray(_TIMES)
  gains = jnp.asarray(motion.ACCELERATIONS)
  speed = state_ExS[:, motion.SPEED, None]
  after = jnp.maximum(speed + _STEP * gains[None], 0.0)  # [E, M]
  left = (times - _STEP)[None, None]
  spent = jnp.minimum(left, after[..., None] / _BRAKE)
  first = 0.5 * _STEP * (speed + after)[..., None]
  braking = first + after[..., None] * spent - 0.5 * _BRAKE * spent**2
  going = first + after[..., None] * left + 0.5 * _GO * left**2
  driven = jnp.concatenate([braking, going], 1)  # [E, 2 M, t]
  here = _on_way(way_ExKx2, arc_E[:, None, None])[0]
  own, course = _on_way(way_ExKx2, arc_E[:, None, None] + driven)  # [E, 2 M, t, 2], [E, 2 M, t]
  own += state_ExS[:, None, None, :2] - here  # as far beside it as now

  there, heading = _ahead(others.state, times)  # [E, A, t, 2], [E, A, t]
  x, y = (others.state[:, 1:, i] - state_ExS[:, None, i] for i in (motion.X, motion.Y))
  cos, sin = (f(state_ExS[:, motion.HEADING])[:, None] for f in (jnp.cos, jnp.sin))
  behind = cos * x + sin * y < -0.25 * others.size[:, :1, 0]
  counts = others.valid[:, 1:] & ~behind

  mine = _discs(own, course, others.size[:, 0], _OWN_DISCS)  # [E, 2 M, t, d, 2]
  theirs = _discs(there[:, 1:], heading[:, 1:], others.size[:, 1:], _DISCS)  # [E, A, t, D, 2]
  apart = mine[:, :, None, :, :, None] - theirs[:, None, :, :, None]  # [E, 2 M, A, t, d, D, 2]
  nearest = jnp.sqrt((apart**2).sum(-1).min((-1, -2)))
  width = others.size[..., 1]
  reach = 0.5 * (width[:, :1] + width[:, 1:]) + _ASIDE
  depth = jnp.clip((reach[:, None, :, None] - nearest) / _DEPTH, 0.0, 1.0)
  alike = jnp.cos(heading[:, None, 1:] - course[:, :, None])  # [E, 2 M, A, t]
  stands = (others.state[:, 1:, motion.SPEED] < _STANDS)[:, None, :, None]
  unknown = (alike < _OPPOSITE) & (times > _TURNING)[None, None, None]
  brakes = (jnp.arange(driven.shape[1]) < len(gains))[None, :, None, None]
  unknown |= ~(stands | (alike > _SAME)) & brakes & (times > _FORESEEN)[None, None, None]
  depth = jnp.where(unknown, 0.0, depth)
  harm = depth * (1 - times / _FADE)[None, None, None]
  worst = jnp.where(counts[:, None, :, None], harm, 0.0).max((2, 3), initial=0.0)  # [E, 2 M]
  nats_ExM = -_NATS * worst.reshape(len(worst), 2, -1).min(1)
  nats_ExM = jnp.where(after > 0, nats_ExM, 0.0)
  return jnp.repeat(nats_ExM, len(motion.YAW_RATES), axis=1)


def _on_way(way_ExKx2, arc):
  """Point [E, M, t, 2] and course [E, M, t] at arc lengths [E, M, t], held at the ends."""
  last = way_ExKx2.shape[1] - 2
  place = jnp.clip(arc, 0.0, last)
  before = jnp.minimum(place.astype(jnp.int32), last)
  row = jnp.arange(len(way_ExKx2))[:, None, None]
  start, step = way_ExKx2[row, before], way_ExKx2[row, before + 1] - way_ExKx2[row, before]
  return start + (place - before)[..., None] * step, jnp.arctan2(step[..., 1], step[..., 0])


def _ahead(state, times):
  """Where everybody will be [E, A, t, 2], and their headings [E, A, t]: chords of arcs, then straight on."""
  speed, rate, heading = (state[..., i, None] for i in (motion.SPEED, motion.YAW_RATE, motion.HEADING))
  turning = jnp.minimum(times, _TURNING)[None, None]
  final, middle = heading + rate * turning, heading + 0.5 * rate * turning
  straight = times[None, None] - turning
  place = [
    state[..., i, None] + speed * (turning * f(middle) + straight * f(final))
    for i, f in ((motion.X, jnp.cos), (motion.Y, jnp.sin))
  ]
  return jnp.stack(place, -1), final


def _discs(place, heading, size, count: int):
  """Centres [..., t, count, 2] of a row of discs as wide as the box; size: [E, 2] or [E, A, 2]."""
  half = 0.5 * jnp.maximum(size[..., 0] - size[..., 1], 0.0)
  half = half.reshape(half.shape + (1,) * (heading.ndim + 1 - half.ndim))
  along = half * jnp.linspace(-1.0, 1.0, count).reshape((1,) * heading.ndim + (-1,))
  way = jnp.stack([jnp.cos(heading), jnp.sin(heading)], -1)
  return place[..., None, :] + along[..., None] * way[..., None, :]
