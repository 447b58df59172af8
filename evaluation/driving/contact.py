"""Which oriented boxes overlap: the separating-axis test on pairs that are near enough to matter.

Two convex shapes are apart exactly when they are apart along the normal of one of their sides (S. Gottschalk et al.,
"OBBTree", SIGGRAPH 1996); two rectangles have four such directions.
"""

import numpy as np


def overlaps(one_Mx5: np.ndarray, other_Mx5: np.ndarray) -> np.ndarray:
  """bool [M]: boxes (x, y, heading, length, width) of a row share a point of their interiors."""
  apart = other_Mx5[:, :2] - one_Mx5[:, :2]
  turn = other_Mx5[:, 2] - one_Mx5[:, 2]
  cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
  (a, b), (c, d) = 0.5 * one_Mx5[:, 3:].T, 0.5 * other_Mx5[:, 3:].T
  meet = np.ones(len(one_Mx5), bool)
  for heading, along, across in (
    (one_Mx5[:, 2], a + c * cos + d * sin, b + c * sin + d * cos),
    (other_Mx5[:, 2], c + a * cos + b * sin, d + a * sin + b * cos),
  ):
    ahead, left = np.cos(heading), np.sin(heading)
    meet &= np.abs(apart[:, 0] * ahead + apart[:, 1] * left) < along
    meet &= np.abs(apart[:, 1] * ahead - apart[:, 0] * left) < across
  return meet


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
