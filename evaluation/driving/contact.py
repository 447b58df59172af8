"""Which oriented boxes overlap: the separating-axis test on pairs that are near enough to matter.

Two convex shapes are apart exactly when they are apart along the normal of one of their sides (S. Gottschalk et al.,
"OBBTree", SIGGRAPH 1996); two rectangles have four such directions.
"""

import numpy as np


def overlaps(one_Mx5: np.ndarray, other_Mx5: np.ndarray) -> np.ndarray:
  """bool [M]: boxes (x, y, heading, length, width) of a row share a point of their interiors."""
  box_2xMx5 = np.stack([one_Mx5, other_Mx5])
  x, y = (box_2xMx5[1, :, :2] - box_2xMx5[0, :, :2]).T
  cos_2xM, sin_2xM = np.cos(box_2xMx5[..., 2]), np.sin(box_2xMx5[..., 2])
  turn = box_2xMx5[1, :, 2] - box_2xMx5[0, :, 2]
  cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
  length, width = 0.5 * box_2xMx5[..., 3], 0.5 * box_2xMx5[..., 4]
  others = length[::-1], width[::-1]
  meet = np.abs(x * cos_2xM + y * sin_2xM) < length + others[0] * cos + others[1] * sin
  meet &= np.abs(y * cos_2xM - x * sin_2xM) < width + others[0] * sin + others[1] * cos
  return meet[0] & meet[1]


def contacts(box_Nx5: np.ndarray, own_E: np.ndarray, other_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Pairs (e, n) in order: box own_E[e] overlaps box n of `other_M`, itself left out."""
  one, two = box_Nx5[own_E], box_Nx5[other_M]
  reach_E, reach_M = (0.5 * np.hypot(box[:, 3], box[:, 4]) for box in (one, two))
  x, y = (two[None, :, i] - one[:, None, i] for i in range(2))
  near = x * x + y * y < (reach_E[:, None] + reach_M[None, :]) ** 2
  e, m = np.nonzero(near & (other_M[None] != own_E[:, None]))
  if not len(e):  # mostly
    return e, other_M[m]
  meet = overlaps(one[e], two[m])
  return e[meet], other_M[m[meet]]
