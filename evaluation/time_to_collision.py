"""Time to collision: when boxes would first touch if everybody went on as now.

Everybody keeps speed v and yaw rate w. After a time s a centre has moved along its arc by the chord

  v s sinc(w s / 2) (cos(h + w s / 2), sin(h + w s / 2)),      sinc(x) = sin(x) / x,

and its heading is h + w s. The projection covers 3 s in steps of 0.1 s, now included; the time to collision is the
first step at which the boxes (evaluation/boxes.py) overlap, infinite without one. Less than 0.95 s is too little.
Horizon, step and bound as in nuPlan (H. Caesar et al., arXiv:2106.11810), which projects straight ahead: yaw rates of
zero. With yaw rates, oncoming traffic in a bend is not taken for a collision.
"""

import jax
import jax.numpy as jnp
import numpy as np

from evaluation import boxes

HORIZON, STEP = 3.0, 0.1  # s
BOUND = 0.95  # s; what a driver must keep

_TIMES = np.arange(round(HORIZON / STEP) + 1) * STEP


def project(box: jax.Array, speed: jax.Array, yaw_rate: jax.Array, seconds: np.ndarray) -> jax.Array:
  """Boxes [..., K, 5] after `seconds` [K], of boxes [..., 5], speeds [...] m/s and yaw rates [...] rad/s."""
  after = jnp.asarray(seconds, box.dtype).reshape((1,) * speed.ndim + (-1,))
  half_turn = 0.5 * yaw_rate[..., None] * after
  chord = speed[..., None] * after * jnp.sinc(half_turn / jnp.pi)
  heading = box[..., boxes.HEADING, None]
  x = box[..., boxes.X, None] + chord * jnp.cos(heading + half_turn)
  y = box[..., boxes.Y, None] + chord * jnp.sin(heading + half_turn)
  size = jnp.broadcast_to(box[..., None, boxes.LENGTH :], (*x.shape, 2))
  return jnp.concatenate([jnp.stack([x, y, heading + 2 * half_turn], -1), size], -1)


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
  own = project(box, speed, yaw_rate, _TIMES)[..., None, :, :]
  others = project(boxes_A, speed_A, yaw_rate_A, _TIMES)
  gap = boxes.separation(own, others)
  touching = gap <= 0
  first = jnp.where(touching.any(-1), touching.argmax(-1) * STEP, jnp.inf).astype(gap.dtype)
  return jnp.where(valid_A, jnp.where(jnp.isnan(gap).any(-1), jnp.nan, first), jnp.inf)
