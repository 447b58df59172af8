"""Map elements as a set: each of Q answers is one polyline or none, and the best matching is what counts.

  cost[m, q] = - log p_q(class_m) + min over both directions of mean_p |y_mp - x_qp|_1 / SCALE_M
  loss = sum over matched of that + NONE_WEIGHT sum over the others of - log p_q(none)

N. Carion et al., "DETR", arXiv:2005.12872; polylines that mean the same read from either end: B. Liao et al.,
"MapTR", arXiv:2208.14437.
"""

import jax
import jax.numpy as jnp

from objectives.assignment import assign

SCALE_M = 2.0  # a miss of this much costs one nat
NONE_WEIGHT = 0.2  # most answers are none; they must not drown the others (0.1 in DETR)
MATCH_M = 1.5  # an element is found when an answer of its class is this near, point by point: MapTR's widest


def loss(points_BxTxQxPx2, logits_BxTxQxV, elements_BxTxMxPx2, class_BxTxM, mask_BxTxM):
  """{name: (sum_B, count_B)}; the last of the V classes is none, and Q is at least M.

  "loss": per element. "distance": metres to the matched answer; "recall": matched in class and within MATCH_M.
  """
  b, t, q = points_BxTxQxPx2.shape[:3]
  m = mask_BxTxM.shape[2]
  classes = class_BxTxM.astype(jnp.int32)
  log_p = jax.nn.log_softmax(logits_BxTxQxV)
  elements_BxTxMxPx2 = jnp.where(mask_BxTxM[..., None, None], elements_BxTxMxPx2, 0)
  both = jnp.stack([elements_BxTxMxPx2, elements_BxTxMxPx2[..., ::-1, :]], 3)
  miss = jnp.abs(both[:, :, :, None] - points_BxTxQxPx2[:, :, None, :, None]).sum(-1).mean(-1).min(-1)
  rows = jnp.broadcast_to(classes[..., None, :], (b, t, q, m))
  said = jnp.take_along_axis(log_p, rows, axis=-1).swapaxes(-1, -2)
  cost = jnp.where(mask_BxTxM[..., None], miss / SCALE_M - said, 0)
  column = jax.vmap(assign)(cost.reshape(b * t, m, q)).reshape(b, t, m)
  matched = jnp.take_along_axis(cost, column[..., None], axis=-1)[..., 0]
  apart = jnp.take_along_axis(miss, column[..., None], axis=-1)[..., 0]
  taken = (jax.nn.one_hot(column, q) * mask_BxTxM[..., None]).sum(2)
  none = NONE_WEIGHT * -log_p[..., -1] * (1 - taken)
  known = mask_BxTxM.astype(jnp.float32)
  answer = jnp.take_along_axis(logits_BxTxQxV.argmax(-1), column, axis=-1)
  found = known * (answer == classes) * (apart < MATCH_M)
  count = known.sum((1, 2))
  return {
    "loss": (matched.sum((1, 2)) + none.sum((1, 2)), count),
    "distance": ((apart * known).sum((1, 2)), count),
    "recall": (found.sum((1, 2)), count),
  }
