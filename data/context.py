"""What an agent knows before its next move: itself, the path and signals ahead, the others around it.

Written over an array namespace `xp` (numpy when a dataset is built, jax.numpy inside a roll-out), so that
training and simulation see the same numbers. Map and traffic are seen in the agent's Frenet frame along its
planned path: arc length s and lateral offset l (left positive). Every feature is divided by its spread over
simulated worlds, so that rare ones are heard too.

Shapes: leading `...` are batch and time and must have the same rank everywhere (size one broadcasts);
`A` agents, `V` of them, the first, whose view is asked for (in training all), `P` path points, `Q` signals on a
path.
"""

import types
from typing import Any, NamedTuple

import numpy as np

from data import motion
from data.schema import Signal

Array = Any  # numpy or jax.numpy

LOOKAHEADS = (5.0, 12.0, 25.0, 50.0)  # m along the path
LANE_HALF_WIDTH, LANE_REACH = 1.8, 5.4  # m lateral: the same lane, the next lane
RANGE = 80.0  # m; others further away along the path are not seen
HORIZON = 5.0  # s within which crossing traffic matters
STOP_MARGIN = 2.0  # m a stop line may lie behind the centre of an agent that waits at it
FAR = 1e6  # m, stands for "none"

OWN = slice(0, 9)
PLACE = slice(
  5, 9
)  # of these, what depends on the frame: everything else is relative to the agent or its path
MAP = slice(9, 30)
AGENTS = slice(30, 63)
FEATURES = 63

# About the standard deviation of each feature over moves of all simulated domains. A map offset varies by a
# tenth of what a neighbour's position does and would be learned slowly. Constants, so that a feature means
# the same on every dataset. Where an agent is in its group says little by itself and is kept small; what is
# nearly always zero, as the braking that a red light asks for, is kept from being all outliers.
SPREAD = (
  0.84, 0.37, 0.38, 0.56, 0.25, 8.0, 6.0, 0.81, 0.57,
  # path and limits
  0.3, 0.1, 0.22, 0.22, 0.22, 0.19, 0.23, 0.28, 0.26, 0.46, 0.3, 0.64, 0.85, 1.3, 1.2, 0.33, 0.1,
  # signal
  0.23, 0.26, 0.2, 0.2,
  # leader and follower, left, right
  0.31, 0.2, 0.41, 0.5, 0.3, 0.3, 0.31, 0.14, 0.46, 0.5,
  0.26, 0.79, 0.87, 0.46, 0.26, 0.79, 1.0, 0.46,
  0.21, 0.68, 0.53, 0.39, 0.21, 0.69, 0.65, 0.4,
  # crossing
  1.9, 1.6, 1.1, 0.46, 0.42, 0.23, 0.4,
)  # fmt: skip
LARGEST = 10.0  # spreads; what lies further out is an outlier


class Surroundings(NamedTuple):
  """What does not follow from the agents' states.

  Attributes:
    size: [..., A, 2] m, length and width.
    group: [..., A] integer; agents see each other only within a group.
    path: [..., V, P, 2] m, points at equal spacing along the planned path.
    spacing: [..., V] m between path points; 0 where the agent has no path.
    limit: [..., V, P] m/s speed limit.
    junction: [..., V, P] 1 inside junctions.
    stop: [..., V, Q] m arc length of signalled stop lines, FAR for none.
    signal: [..., V, Q] data.schema.Signal at those lines now.
  """

  size: Array
  group: Array
  path: Array
  spacing: Array
  limit: Array
  junction: Array
  stop: Array
  signal: Array


def features(state, valid, around: Surroundings, xp: types.ModuleType = np):
  """State [..., A, motion.STATE] and valid [..., A] to features [..., V, FEATURES], zero where invalid."""
  arc_VxA, lateral_VxA, tangent = frenet(state[..., :2], around, xp)
  viewers = around.path.shape[-3]
  own = state[..., :viewers, :]
  parts = [
    _own(own, around.size[..., :viewers, :], xp),
    _map(own, xp.diagonal(arc_VxA, 0, -2, -1), xp.diagonal(lateral_VxA, 0, -2, -1), tangent, around, xp),
    _others(state, valid, arc_VxA, lateral_VxA, tangent, around, xp),
  ]
  seen = xp.concatenate(parts, axis=-1)
  seen = seen / xp.asarray(SPREAD, xp.float32).reshape((1,) * (seen.ndim - 1) + (-1,))
  return xp.where(valid[..., :viewers, None], xp.clip(seen, -LARGEST, LARGEST), 0.0)


def _own(state, size, xp):
  heading = state[..., motion.HEADING]
  size = xp.broadcast_to(size, (*heading.shape, 2))
  return xp.stack(
    [
      state[..., motion.SPEED] / 10,
      state[..., motion.ACCELERATION] / 2,
      state[..., motion.YAW_RATE] * 4,
      size[..., 0] / 5,
      size[..., 1] / 2,
      *_place(state, xp),
    ],
    axis=-1,
  )


def _place(state, xp):
  heading = state[..., motion.HEADING]
  return state[..., motion.X] / 50, state[..., motion.Y] / 50, xp.cos(heading), xp.sin(heading)


def place(state, xp: types.ModuleType = np):
  """The features PLACE [..., 4] of agents with state [..., motion.STATE], in whatever frame that is."""
  where = xp.stack(_place(state, xp), axis=-1)
  return where / xp.asarray(SPREAD[PLACE], xp.float32).reshape((1,) * (where.ndim - 1) + (-1,))


def _map(state, arc, lateral, tangent, around, xp):
  known = around.spacing > 0
  spacing = xp.where(known, around.spacing, 1.0)
  heading, speed = state[..., motion.HEADING], state[..., motion.SPEED]
  error = motion.wrap(heading - tangent, xp)
  columns = [lateral / 2, 2 * xp.sin(error), xp.cos(error), known + 0 * speed]

  last = around.path.shape[-2] - 1
  for distance in LOOKAHEADS:
    place = xp.clip((arc + distance) / spacing, 0, last)
    before = xp.floor(place).astype(xp.int32)
    after = xp.minimum(before + 1, last)
    share = place - before
    x, y = (
      (1 - share) * _take(around.path[..., i], before, xp)
      + share * _take(around.path[..., i], after, xp)
      - state[..., i]
      for i in (motion.X, motion.Y)
    )
    forward, left = _rotate(x, y, heading, xp)
    columns += [forward / distance, 2 * left / distance]

  index = xp.clip(arc / spacing, 0, last).astype(xp.int32)
  later = xp.clip((arc + LOOKAHEADS[2]) / spacing, 0, last).astype(xp.int32)
  limit = _take(around.limit, index, xp)
  columns += [limit / 10, (limit - speed) / 5, (_take(around.limit, later, xp) - speed) / 5]

  point = xp.arange(last + 1).reshape((1,) * index.ndim + (-1,))
  inside = (around.junction > 0) & (point >= index[..., None])
  first = xp.where(inside.any(-1), inside.argmax(-1) * spacing, FAR)
  columns.append(_near(xp.maximum(first - arc, 0), 20))
  columns.append(_near(xp.maximum(last * spacing - arc, 0), 20))

  ahead = xp.where(around.stop > arc[..., None] - STOP_MARGIN, around.stop, FAR)
  which = ahead.argmin(-1)
  distance = xp.maximum(_take(ahead, which, xp) - arc, 0)
  colour = xp.where(distance < RANGE, _take(around.signal, which, xp), int(Signal.NONE))
  red, yellow = colour == int(Signal.RED), colour == int(Signal.YELLOW)
  green = (colour == int(Signal.GREEN)) | (colour == int(Signal.GREEN_YIELD))
  needed = xp.minimum(speed**2 / (2 * xp.maximum(distance, 1)) / 3, 2)  # deceleration to stop there / 3 m/s^2
  columns += [_near(distance, 20), 1.0 * red, 1.0 * yellow + 0.5 * green, (red | yellow) * needed]
  return xp.where(known[..., None], xp.stack(columns, axis=-1), 0.0)


def _others(state, valid, arc_VxA, lateral_VxA, tangent, around, xp):
  """Row i: what agent i sees. Six neighbours by lane and side, then the most threatening crossing agent."""
  viewers, agents = arc_VxA.shape[-2:]
  pair = around.group[..., :viewers, None] == around.group[..., None, :]
  other = ~xp.eye(viewers, agents, dtype=bool).reshape((1,) * (pair.ndim - 2) + (viewers, agents))
  pair = pair & valid[..., None, :] & valid[..., :viewers, None] & other
  arc = xp.diagonal(arc_VxA, 0, -2, -1)
  gap = arc_VxA - arc[..., None]
  side = lateral_VxA - xp.diagonal(lateral_VxA, 0, -2, -1)[..., None]
  heading, every_speed = state[..., motion.HEADING], state[..., motion.SPEED]
  speed = every_speed[..., :viewers]
  turned = heading[..., None, :] - tangent[..., :, None]
  closing = every_speed[..., None, :] * xp.cos(turned) - speed[..., :, None]
  length = around.size[..., 0]
  clear = xp.abs(gap) - 0.5 * (length[..., None, :] + length[..., :viewers, None])
  near = pair & (xp.abs(gap) < RANGE) & (around.spacing > 0)[..., None]

  columns = []
  same = xp.abs(side) < LANE_HALF_WIDTH
  left = (side >= LANE_HALF_WIDTH) & (side < LANE_REACH)
  right = (side <= -LANE_HALF_WIDTH) & (side > -LANE_REACH)
  ahead = gap >= 0
  for lane in (same, left, right):
    for front in (ahead, ~ahead):
      seen = near & lane & front
      which = xp.where(seen, xp.abs(gap), FAR).argmin(-1)
      present = seen.any(-1)
      values = [_near(xp.maximum(_take(clear, which, xp), 0), 10), _take(side, which, xp) / 2]
      values.append(xp.clip(_take(closing, which, xp) / 5, -4, 4))
      columns += [xp.where(present, value, 0.0) for value in values] + [1.0 * present]
      if lane is same and front is ahead:
        # What car following reacts to: the inverse time gap, and the braking that would just avoid contact.
        room = xp.maximum(_take(clear, which, xp), 0.5)
        approach = xp.maximum(-_take(closing, which, xp), 0)
        values = [xp.minimum(speed / room, 3), xp.minimum(approach**2 / (2 * room) / 3, 3)]
        columns += [xp.where(present, value, 0.0) for value in values]

  own = heading[..., :viewers]
  dx, dy = (state[..., None, :, i] - state[..., :viewers, None, i] for i in (motion.X, motion.Y))
  vx, vy = every_speed * xp.cos(heading), every_speed * xp.sin(heading)
  wx, wy = (v[..., None, :] - v[..., :viewers, None] for v in (vx, vy))
  time = xp.clip(-(dx * wx + dy * wy) / xp.maximum(wx**2 + wy**2, 1e-2), 0, HORIZON)
  miss = xp.hypot(dx + wx * time, dy + wy * time)
  apart = xp.cos(heading[..., None, :] - own[..., :, None])
  threat = pair & (apart < 0.94) & (time > 0)  # more than 20 degrees apart and approaching
  which = xp.where(threat, miss + 2 * time, FAR).argmin(-1)
  present = threat.any(-1)
  rx, ry = _rotate(_take(dx, which, xp), _take(dy, which, xp), own, xp)
  ux, uy = _rotate(_take(wx, which, xp), _take(wy, which, xp), own, xp)
  values = [xp.clip(v / 20, -4, 4) for v in (rx, ry)] + [xp.clip(v / 10, -4, 4) for v in (ux, uy)]
  values += [_take(time, which, xp) / HORIZON, _near(_take(miss, which, xp), 5)]
  columns += [xp.where(present, value, 0.0) for value in values] + [1.0 * present]
  return xp.stack(columns, axis=-1)


def frenet(position, around, xp):
  """Every agent j on every path i: arc length and lateral offset [..., V, A] m, and the tangent angle
  [..., V] of each agent's own path where the agent is. One linear step from the nearest path point."""
  x, y = around.path[..., 0], around.path[..., 1]
  px, py = position[..., None, :, 0], position[..., None, :, 1]
  away = (x[..., None, :] - px[..., None]) ** 2 + (y[..., None, :] - py[..., None]) ** 2
  nearest = away.argmin(-1)
  ex = xp.concatenate([x[..., 1:2] - x[..., :1], x[..., 2:] - x[..., :-2], x[..., -1:] - x[..., -2:-1]], -1)
  ey = xp.concatenate([y[..., 1:2] - y[..., :1], y[..., 2:] - y[..., :-2], y[..., -1:] - y[..., -2:-1]], -1)
  tangent = _take(xp.arctan2(ey, ex), nearest, xp)
  dx, dy = px - _take(x, nearest, xp), py - _take(y, nearest, xp)
  forward, left = _rotate(dx, dy, tangent, xp)
  return (
    nearest * around.spacing[..., None] + forward,
    left,
    xp.diagonal(tangent, 0, -2, -1),
  )


def _rotate(x, y, heading, xp):
  """World offset to (forward, left) of a frame with this heading."""
  cos, sin = xp.cos(heading), xp.sin(heading)
  return cos * x + sin * y, cos * y - sin * x


def _near(distance, scale):
  """1 at contact, 0 far away."""
  return scale / (distance + scale)


def _take(values, index, xp):
  """values[..., index] along the last axis; index has the rank of `values` or one less."""
  if index.ndim == values.ndim:
    return xp.take_along_axis(values, index, axis=-1)
  return xp.take_along_axis(values, index[..., None], axis=-1)[..., 0]
