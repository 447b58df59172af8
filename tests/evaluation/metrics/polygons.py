"""Plane geometry by brute force in float64 NumPy, sharing nothing with evaluation/: the oracle of its tests."""

import itertools
import math

import numpy as np


def box_corners(boxes: np.ndarray) -> np.ndarray:
  """[..., 4, 2] of boxes [..., 5], counter-clockwise from the front left, by complex numbers."""
  turn = np.exp(1j * boxes[..., 2])[..., None]
  arms = 0.5 * (
    boxes[..., 3, None] * np.array([1, -1, -1, 1]) + 1j * boxes[..., 4, None] * np.array([1, 1, -1, -1])
  )
  placed = (boxes[..., 0] + 1j * boxes[..., 1])[..., None] + turn * arms
  return np.stack([placed.real, placed.imag], -1)


def clipped_area(a: list, b: list) -> float:
  """m^2 that two convex counter-clockwise polygons share (I. Sutherland and G. Hodgman, CACM 1974)."""
  kept = list(a)
  for (px, py), (qx, qy) in zip(b, [*b[1:], b[0]], strict=True):
    made: list = []
    sides = [(qx - px) * (y - py) - (qy - py) * (x - px) for x, y in kept]
    for i, (x, y) in enumerate(kept):
      before, here = sides[i - 1], sides[i]
      if (before >= 0) != (here >= 0):
        share = before / (before - here)
        made.append(
          (kept[i - 1][0] + share * (x - kept[i - 1][0]), kept[i - 1][1] + share * (y - kept[i - 1][1]))
        )
      if here >= 0:
        made.append((x, y))
    kept = made
    if not kept:
      return 0.0
  return 0.5 * sum(p[0] * q[1] - p[1] * q[0] for p, q in zip(kept, [*kept[1:], kept[0]], strict=True))


def difference_distance(a: np.ndarray, b: np.ndarray) -> float:
  """m from the origin to the hull of all differences of corners; negative inside. The boxes' signed distance."""
  points = sorted({(float(x), float(y)) for x, y in (b[:, None] - a[None]).reshape(-1, 2)})

  def chain(run):
    found: list = []
    for point in run:
      while len(found) > 1 and _cross(found[-2], found[-1], point) <= 0:
        found.pop()
      found.append(point)
    return found[:-1]

  hull = chain(points) + chain(points[::-1])
  edges = list(zip(hull, [*hull[1:], hull[0]], strict=True))
  inside = all(_cross(p, q, (0.0, 0.0)) >= 0 for p, q in edges)
  return (-1 if inside else 1) * min(_to_segment(p, q) for p, q in edges)


def _cross(p, q, r) -> float:
  return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])


def _to_segment(p, q) -> float:
  """From the origin to the segment."""
  dx, dy = q[0] - p[0], q[1] - p[1]
  share = min(max(-(p[0] * dx + p[1] * dy) / (dx * dx + dy * dy), 0.0), 1.0)
  return math.hypot(p[0] + share * dx, p[1] + share * dy)


def touching(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """bool [...]: boxes [..., 5] meet: edges cross, or the centre of one lies in the other."""
  p, q = box_corners(a), box_corners(b)
  meet = _holds(a, b[..., :2]) | _holds(b, a[..., :2])
  for i in range(4):
    for j in range(4):
      start, end, first, last = p[..., i, :], p[..., i - 1, :], q[..., j, :], q[..., j - 1, :]
      meet |= (_side(start, end, first) * _side(start, end, last) <= 0) & (
        _side(first, last, start) * _side(first, last, end) <= 0
      )
  return meet


def _holds(box: np.ndarray, point: np.ndarray) -> np.ndarray:
  at = ((point - box[..., :2]) @ np.array([1, 1j])) * np.exp(-1j * box[..., 2])
  return (np.abs(at.real) <= box[..., 3] / 2) & (np.abs(at.imag) <= box[..., 4] / 2)


def _side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
  return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])


def on_band(points: np.ndarray, line: np.ndarray, half_width: float) -> np.ndarray:
  """bool [N]: points lie on the rectangles along the pieces of a line [P, 2] or on the discs at its points."""
  held = np.zeros(len(points), bool)
  for start, end in itertools.pairwise(line):
    ahead = math.atan2(end[1] - start[1], end[0] - start[0])
    length = math.dist(start, end)
    held |= _holds(np.array([*(start + end) / 2, ahead, length, 2 * half_width]), points)
  for point in line:
    held |= np.hypot(*(points - point).T) <= half_width
  return held
