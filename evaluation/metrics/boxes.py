"""Oriented boxes in the plane: corners, overlap and signed distance.

A box is [..., 5]: centre x, y in m, heading in rad counter-clockwise from +x, length and width in m. Two arrays of
boxes must have the same rank; size one broadcasts. Boxes that touch overlap.

Two convex bodies are apart if and only if an axis separates their shadows; for boxes the four edge normals suffice
(S. Gottschalk, M. Lin and D. Manocha, "OBBTree", SIGGRAPH 1996). `separation` is the largest gap between the
shadows over these axes, negative when they overlap on all of them. The signed distance is

  the distance between the boxes           where separation > 0,
  -(the shortest shift that parts them)    elsewhere, which is the separation itself:

the signed distance from the origin to the Minkowski difference of the boxes. NaN in a box makes both NaN, and
`overlap` true: what is not known is not reported as safe.

All functions are pure jax.numpy and compute in the dtype of their input; offsets are taken before anything is
rotated, so that float32 keeps millimetres far from the origin.
"""

import jax
import jax.numpy as jnp

X, Y, HEADING, LENGTH, WIDTH = range(5)


def boxes(position: jax.Array, heading: jax.Array, size: jax.Array) -> jax.Array:
  """[..., 5] of positions [..., 2], headings [...] and sizes (length, width) [..., 2]."""
  return jnp.concatenate([position, heading[..., None], size], -1)


def corners(box: jax.Array) -> jax.Array:
  """[..., 4, 2] m, counter-clockwise from the front left."""
  x, y = _arms(box)
  return jnp.stack([box[..., X, None] + x, box[..., Y, None] + y], -1)


def separation(a: jax.Array, b: jax.Array) -> jax.Array:
  """[...] m: the largest gap over the edge normals of both boxes."""
  course_a, course_b = ((jnp.cos(box[..., HEADING]), jnp.sin(box[..., HEADING])) for box in (a, b))
  size_a, size_b = ((box[..., LENGTH], box[..., WIDTH]) for box in (a, b))
  return largest_gap(b[..., X] - a[..., X], b[..., Y] - a[..., Y], course_a, course_b, size_a, size_b)


Pair = tuple[jax.Array, jax.Array]


def largest_gap(
  dx: jax.Array, dy: jax.Array, course_a: Pair, course_b: Pair, size_a: Pair, size_b: Pair
) -> jax.Array:
  """`separation` of boxes given by the offset of b from a, courses (cos, sin) and sizes (length, width)."""
  (cos_a, sin_a), (cos_b, sin_b) = course_a, course_b
  cos, sin = jnp.abs(cos_a * cos_b + sin_a * sin_b), jnp.abs(sin_a * cos_b - cos_a * sin_b)  # of the turn
  gaps = []
  for (own_cos, own_sin), own, other in ((course_a, size_a, size_b), (course_b, size_b, size_a)):
    ahead, left = own_cos * dx + own_sin * dy, own_cos * dy - own_sin * dx
    gaps.append(jnp.abs(ahead) - 0.5 * (own[0] + other[0] * cos + other[1] * sin))
    gaps.append(jnp.abs(left) - 0.5 * (own[1] + other[0] * sin + other[1] * cos))
  return jnp.maximum(jnp.maximum(gaps[0], gaps[1]), jnp.maximum(gaps[2], gaps[3]))


def overlap(a: jax.Array, b: jax.Array) -> jax.Array:
  """bool [...]: the boxes share a point."""
  return ~(separation(a, b) > 0)


def signed_distance(a: jax.Array, b: jax.Array) -> jax.Array:
  """[...] m, negative when the boxes overlap."""
  gap = separation(a, b)
  apart = jnp.minimum(_corner_distance(a, b), _corner_distance(b, a))
  return jnp.where(gap > 0, apart, gap)


def _corner_distance(box: jax.Array, other: jax.Array) -> jax.Array:
  """[...] m from the nearest corner of `other` to `box`: boxes that are apart are nearest at a corner of one."""
  x, y = _arms(other)
  dx, dy = other[..., X] - box[..., X], other[..., Y] - box[..., Y]
  return _outside(box, x + dx[..., None], y + dy[..., None]).min(-1)


def _outside(box: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
  """[..., P] m from a box to offsets [..., P] from its centre, 0 inside."""
  cos, sin = jnp.cos(box[..., HEADING, None]), jnp.sin(box[..., HEADING, None])
  ahead, left = cos * x + sin * y, cos * y - sin * x
  beyond = jnp.maximum(jnp.abs(ahead) - 0.5 * box[..., LENGTH, None], 0.0)
  beside = jnp.maximum(jnp.abs(left) - 0.5 * box[..., WIDTH, None], 0.0)
  return jnp.hypot(beyond, beside)


def _arms(box: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Offsets x, y [..., 4] from the centre to the corners."""
  cos, sin = jnp.cos(box[..., HEADING]), jnp.sin(box[..., HEADING])
  along, left = 0.5 * box[..., LENGTH], 0.5 * box[..., WIDTH]
  signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
  x = jnp.stack([cos * along * i - sin * left * j for i, j in signs], -1)
  y = jnp.stack([sin * along * i + cos * left * j for i, j in signs], -1)
  return x, y
