"""Detection by centre heat maps: each cell of the BEV grid says whether an agent's centre lies in it.

  heat:  focal loss against y = max_k exp(-d_k^2 / 2 s_k^2), d_k from the centre's cell, s_k from the box's size,
         y = 1: - (1 - p)^2 log p          else: - (1 - y)^4 p^2 log(1 - p)
  box:   L1 at the centre's cell of (offset in the cell, z, log length, width, height, sin and cos of yaw)

Cells where an agent may be that was not labelled or not seen (`unsure`) are no negatives.
X. Zhou et al., "Objects as Points", arXiv:1904.07850; T. Yin et al., "CenterPoint", arXiv:2006.11275. Cell [i, j]
covers x from i cell_m - rear_m and y from (j - W / 2) cell_m, in metres in the ego frame of its step.
"""

import jax
import jax.numpy as jnp

from objectives import visibility

FOCAL_ALPHA, FOCAL_BETA = 2, 4  # of CornerNet (arXiv:1808.01244), whose loss both papers take
HEAT_SHARE = 4  # s_k is so small a share of the root of a box's area, but at least a cell
LEAST_SIZE_M = 0.01  # of a box, before its logarithm
MATCH_M = (
  2.0  # a peak and a box nearer than this are the same agent: nuScenes' widest but one (arXiv:1903.11027)
)
THRESHOLD = 0.3  # of the heat, for a peak to count as a detection
LEAST_HALF = 0.71  # cells: half diagonal of a cell, so that an agent covers the cell of its centre


def place(boxes_BxTxKx7, cell_m: float, rear_m: float, width: int):
  """(position in cells, float [B, T, K, 2]; its cell, int32): of the centres of boxes."""
  corner = jnp.asarray([rear_m, width * cell_m / 2])
  position = (boxes_BxTxKx7[..., :2] + corner[None, None, None]) / cell_m
  return position, jnp.floor(position).astype(jnp.int32)


def heat_target(boxes_BxTxKx7, present_BxTxK, class_BxTxK, shape, cell_m: float, rear_m: float):
  """y [B, T, H, W, C] for shape (H, W, C): 1 in the cells of centres, falling off around them."""
  h, w, classes = shape
  _, cell = place(boxes_BxTxKx7, cell_m, rear_m, w)
  size_m = jnp.sqrt(jnp.maximum(boxes_BxTxKx7[..., 3] * boxes_BxTxKx7[..., 4], 0))
  spread = jnp.maximum(size_m / HEAT_SHARE, cell_m)[..., None] / cell_m
  along = jnp.exp(-((jnp.arange(h)[None, None, None] - cell[..., :1]) ** 2) / (2 * spread**2))
  across = jnp.exp(-((jnp.arange(w)[None, None, None] - cell[..., 1:]) ** 2) / (2 * spread**2))
  bump = along[..., :, None] * across[..., None, :] * present_BxTxK[..., None, None]
  kinds = [jnp.where((class_BxTxK == c)[..., None, None], bump, 0).max(2) for c in range(classes)]
  return jnp.stack(kinds, -1)


def box_target(boxes_BxTxKx7, cell_m: float, rear_m: float, width: int):
  """What the box head should say in the cell of each centre: [B, T, K, 8]."""
  position, cell = place(boxes_BxTxKx7, cell_m, rear_m, width)
  size = jnp.log(jnp.maximum(boxes_BxTxKx7[..., 3:6], LEAST_SIZE_M))
  yaw = boxes_BxTxKx7[..., 6:]
  parts = [position - cell, boxes_BxTxKx7[..., 2:3], size, jnp.sin(yaw), jnp.cos(yaw)]
  return jnp.concatenate(parts, -1)


def decode(heat_BxTxHxWxC, box_BxTxHxWx8, count: int, cell_m: float, rear_m: float):
  """The `count` highest peaks: (score [B, T, N], class int32, boxes [B, T, N, 7]), best first.

  A peak is a cell that none of its eight neighbours exceeds.
  """
  b, t, h, w, c = heat_BxTxHxWxC.shape
  heat = jax.nn.sigmoid(heat_BxTxHxWxC)
  highest = jax.lax.reduce_window(heat, -jnp.inf, jax.lax.max, (1, 1, 3, 3, 1), (1, 1, 1, 1, 1), "SAME")
  peaks = jnp.where(heat == highest, heat, 0).reshape(b, t, -1)
  score, index = jax.lax.top_k(peaks, count)
  cell, kind = index // c, index % c
  raw = jnp.take_along_axis(box_BxTxHxWx8.reshape(b, t, h * w, -1), cell[..., None], axis=2)
  corner = jnp.asarray([rear_m, w * cell_m / 2])[None, None, None]
  centre = (jnp.stack([cell // w, cell % w], -1) + raw[..., :2]) * cell_m - corner
  yaw = jnp.arctan2(raw[..., 6:7], raw[..., 7:])
  return score, kind, jnp.concatenate([centre, raw[..., 2:3], jnp.exp(raw[..., 3:6]), yaw], -1)


def unsure(agent_BxTxHxW, boxes_BxTxKx7, present_BxTxK, seen_BxTxK, cell_m: float, rear_m: float):
  """Bool [B, T, H, W]: cells of agents that are not asked for, and where yet nobody could say that there is none.

  agent_BxTxHxW: cells that any agent covers, also those that have no slot. seen_BxTxK: the boxes that are asked for;
  the others that are present were not seen.
  """
  b, t, h, w = agent_BxTxHxW.shape
  row, column = ((jnp.arange(n) + 0.5) * cell_m for n in (h, w))
  x, y = jnp.broadcast_arrays((row - rear_m)[:, None], (column - 0.5 * w * cell_m)[None])
  centres = jnp.stack([x, y], -1).reshape(1, 1, h * w, 2)

  def covered(which_BxTxK):
    inside = visibility.in_boxes(centres, boxes_BxTxKx7, which_BxTxK, LEAST_HALF * cell_m, 0.0)
    return inside.any(-1).reshape(b, t, h, w)

  return (agent_BxTxHxW | covered(present_BxTxK & ~seen_BxTxK)) & ~covered(present_BxTxK & seen_BxTxK)


def loss(
  heat_BxTxHxWxC,
  box_BxTxHxWx8,
  boxes_BxTxKx7,
  seen_BxTxK,
  class_BxTxK,
  unsure_BxTxHxW,
  cell_m: float,
  rear_m: float,
):
  """{name: (sum_B, count_B)}. "loss": focal + L1, per box; "recall", "precision": of `match`.

  heat_BxTxHxWxC: logits. Slots without an agent that was seen, and agents outside the grid, are neither asked for nor
  punished by the box loss. What is said of cells of `unsure_BxTxHxW` is no mistake.
  """
  b, t, h, w, _ = heat_BxTxHxWxC.shape
  _, cell = place(boxes_BxTxKx7, cell_m, rear_m, w)
  inside = seen_BxTxK & ((cell >= 0) & (cell < jnp.asarray([h, w])[None, None, None])).all(-1)
  y = heat_target(boxes_BxTxKx7, inside, class_BxTxK, heat_BxTxHxWxC.shape[2:], cell_m, rear_m)
  log_p, log_not_p = jax.nn.log_sigmoid(heat_BxTxHxWxC), jax.nn.log_sigmoid(-heat_BxTxHxWxC)
  p = jnp.exp(log_p)
  negative = jnp.where(unsure_BxTxHxW[..., None], 0, (1 - y) ** FOCAL_BETA)
  focal = -jnp.where(y == 1, (1 - p) ** FOCAL_ALPHA * log_p, negative * p**FOCAL_ALPHA * log_not_p)
  flat = jnp.where(inside, cell[..., 0] * w + cell[..., 1], 0)
  said = jnp.take_along_axis(box_BxTxHxWx8.reshape(b, t, h * w, -1), flat[..., None], axis=2)
  wanted = box_target(boxes_BxTxKx7, cell_m, rear_m, w)
  miss = jnp.where(inside[..., None], jnp.abs(said - wanted), 0)
  boxes = inside.sum((1, 2)).astype(jnp.float32)

  said_by = jax.lax.stop_gradient((heat_BxTxHxWxC, box_BxTxHxWx8))
  score, kind, found = decode(*said_by, boxes_BxTxKx7.shape[2], cell_m, rear_m)
  apart = jnp.linalg.norm(found[..., :, None, :2] - boxes_BxTxKx7[..., None, :, :2], axis=-1)
  believed = score > THRESHOLD
  same = believed[..., None] & inside[..., None, :] & (kind[..., :, None] == class_BxTxK[..., None, :])
  hit = match(jnp.where(same, apart, jnp.inf))
  hits = hit.sum((1, 2)).astype(jnp.float32)
  judged = believed & (hit | ~at(unsure_BxTxHxW, found, cell_m, rear_m))
  return {
    "loss": (focal.sum((1, 2, 3, 4)) + miss.sum((1, 2, 3)), boxes),
    "focal": (focal.sum((1, 2, 3, 4)), boxes),
    "recall": (hits, boxes),
    "precision": (hits, judged.sum((1, 2)).astype(jnp.float32)),
  }


def at(map_BxTxHxW, boxes_BxTxNx7, cell_m: float, rear_m: float):
  """[B, T, N]: what a map says at the centres of boxes; of those outside, at its edge."""
  b, t, h, w = map_BxTxHxW.shape
  _, cell = place(boxes_BxTxNx7, cell_m, rear_m, w)
  row, column = jnp.clip(cell[..., 0], 0, h - 1), jnp.clip(cell[..., 1], 0, w - 1)
  return jnp.take_along_axis(map_BxTxHxW.reshape(b, t, -1), row * w + column, axis=2)


def match(apart_BxTxNxK):
  """Bool [B, T, N]: whether a peak finds a box nearer than MATCH_M that no better peak has taken.

  apart_BxTxNxK: metres, of peaks from the best on; inf where the two cannot be the same agent. Each peak takes the
  nearest box that is left: what is seen twice is right once. M. Everingham et al., "The PASCAL VOC Challenge",
  IJCV 2010, section 4.2.
  """
  b, t, _, k = apart_BxTxNxK.shape

  def take(free_BxTxK, apart_BxTxK):
    apart_BxTxK = jnp.where(free_BxTxK, apart_BxTxK, jnp.inf)
    taken = jax.nn.one_hot(apart_BxTxK.argmin(-1), k, dtype=bool) & (apart_BxTxK < MATCH_M)
    return free_BxTxK & ~taken, taken.any(-1)

  _, hit_NxBxT = jax.lax.scan(take, jnp.ones((b, t, k), bool), jnp.moveaxis(apart_BxTxNxK, 2, 0))
  return jnp.moveaxis(hit_NxBxT, 0, 2)
