"""Time to collision: when boxes would first touch if everybody went on as now.

Everybody keeps speed v and yaw rate w. After a time s a centre has moved along its arc by the chord

  v s sinc(w s / 2) (cos(h + w s / 2), sin(h + w s / 2)),      sinc(x) = sin(x) / x,

and its heading is h + w s. The projection covers 3 s in steps of 0.1 s, now included; the time to collision is the
first step at which the boxes (evaluation/metrics/boxes.py) overlap, infinite without one. Less than 0.95 s is too
little. Horizon, step and bound as in nuPlan (H. Caesar et al., arXiv:2106.11810), which projects straight ahead: yaw
rates of zero. With yaw rates, oncoming traffic in a bend is not taken for a collision.
"""

import jax
import jax.numpy as jnp
import numpy as np

from evaluation.metrics import boxes

HORIZON, STEP = 3.0, 0.1  # s
BOUND = 0.95  # s; what a driver must keep

_SMALL = 1e-2  # rad, below which sinc is its parabola: exact to 1e-10
_TIMES = np.arange(round(HORIZON / STEP) + 1) * STEP


def project(box: jax.Array, speed: jax.Array, yaw_rate: jax.Array) -> tuple[jax.Array, jax.Array, boxes.Pair]:
  """Centres x and y and courses (cos, sin), [..., K] each, of boxes [..., 5] at all steps of the projection."""
  after = jnp.asarray(_TIMES, box.dtype).reshape((1,) * speed.ndim + (-1,))
  half_turn = 0.5 * yaw_rate[..., None] * after
  cos, sin = jnp.cos(half_turn), jnp.sin(half_turn)
  small = jnp.abs(half_turn) < _SMALL
  sinc = jnp.where(small, 1 - half_turn**2 / 6, sin / jnp.where(small, 1.0, half_turn))
  chord = speed[..., None] * after * sinc
  heading = box[..., boxes.HEADING, None]
  # Turned twice by half the angle: cosines of sums would cost more than all the rest.
  middle = _turned((jnp.cos(heading), jnp.sin(heading)), cos, sin)
  x, y = (box[..., i, None] + chord * part for i, part in zip((boxes.X, boxes.Y), middle, strict=True))
  return x, y, _turned(middle, cos, sin)


def _turned(course: boxes.Pair, cos: jax.Array, sin: jax.Array) -> boxes.Pair:
  return course[0] * cos - course[1] * sin, course[1] * cos + course[0] * sin


def time_to_collision(
  box: jax.Array,
  speed: jax.Array,
  yaw_rate: jax.Array,
  boxes_A: jax.Array,
  speed_A: jax.Array,
  yaw_rate_A: jax.Array,
  valid_A: jax.Array,
) -> jax.Array:
  """[..., A] s from one box [..., 5] to each of boxes [..., A, 5]; infinite where not valid, NaN where unknown."""
  x, y, course = jax.tree.map(lambda part: part[..., None, :], project(box, speed, yaw_rate))
  x_A, y_A, course_A = project(boxes_A, speed_A, yaw_rate_A)
  size, size_A = (
    (each[..., boxes.LENGTH, None], each[..., boxes.WIDTH, None]) for each in (box[..., None, :], boxes_A)
  )
  gap = boxes.largest_gap(x_A - x, y_A - y, course, course_A, size, size_A)
  touching = gap <= 0
  first = jnp.where(touching.any(-1), touching.argmax(-1) * STEP, jnp.inf).astype(gap.dtype)
  return jnp.where(valid_A, jnp.where(jnp.isnan(gap).any(-1), jnp.nan, first), jnp.inf)
