"""Which agents the sensors at hand can have seen: by echoes in their boxes, and by what cameras look at.

Labels say whether any sensor of the whole rig saw an agent. Where a model reads fewer, an agent that only the others
saw is neither there nor not there: nothing can be asked about it.
"""

import jax
import jax.numpy as jnp

MARGIN_M = 0.1  # around a box: of noise in range, and of rounding


def in_boxes(xy, boxes_BxTxKx7, which_BxTxK, least_half_m: float, margin_m: float):
  """Bool [B, T, P, K]: whether points [B, T or 1, P, 2] lie in boxes from above, each at least so wide either way."""
  offset = xy[:, :, :, None] - boxes_BxTxKx7[:, :, None, :, :2]
  cos, sin = (f(boxes_BxTxKx7[:, :, None, :, 6]) for f in (jnp.cos, jnp.sin))
  along = jnp.abs(cos * offset[..., 0] + sin * offset[..., 1])
  across = jnp.abs(cos * offset[..., 1] - sin * offset[..., 0])
  half = jnp.maximum(0.5 * boxes_BxTxKx7[:, :, None, :, 3:5], least_half_m) + margin_m
  return (along <= half[..., 0]) & (across <= half[..., 1]) & which_BxTxK[:, :, None]


def echoed(points_BxTxPx4, echo_BxTxP, boxes_BxTxKx7, present_BxTxK) -> jax.Array:
  """Bool [B, T, K]: an echo lies in the box, above the ground on which it stands."""
  points = points_BxTxPx4.astype(jnp.float32)
  inside = in_boxes(points[..., :2], boxes_BxTxKx7, present_BxTxK, 0.0, MARGIN_M)
  low = boxes_BxTxKx7[:, :, None, :, 2] - 0.5 * boxes_BxTxKx7[:, :, None, :, 5] + MARGIN_M
  return (inside & (points[..., 2:3] > low) & echo_BxTxP[..., None]).any(2)


def in_view(boxes_BxTxKx7, present_BxTxK, position_Cx3, axes_Cx3x3, reach_Cx2) -> jax.Array:
  """Bool [B, T, K]: the centre of the box is in the image of a camera; what may hide it there is not looked for.

  Args: position_Cx3: m, ego frame. axes_Cx3x3: camera axes (forward, left, up) as columns, in the ego frame.
  reach_Cx2: tangents of half the field of view, to the side and upward.
  """
  offset = boxes_BxTxKx7[:, :, None, :, :3] - position_Cx3[None, None, :, None]
  seen = jnp.einsum("btckx,cxy->btcky", offset, axes_Cx3x3)
  edge = reach_Cx2[None, None, :, None] * seen[..., :1]
  return ((seen[..., 0] > 0) & (jnp.abs(seen[..., 1:]) <= edge).all(-1)).any(2) & present_BxTxK
