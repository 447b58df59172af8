"""Rays against upright boxes and the ground plane z = 0: the nearest hit of each ray.

A box is (x, y, z of its centre, length, width, height, yaw). In its own axes a ray o + t d is in the slab |p_i| <= h_i
from t = (-h_i - o_i) / d_i to (h_i - o_i) / d_i (or back); it enters the box at the latest of the three entries, if
that comes before the earliest exit (the slab test of T. Kay, J. Kajiya, SIGGRAPH 1986). Only rays that pass within a
box's bounding sphere are tried.
"""

import dataclasses

import numpy as np

NOTHING, GROUND = -2, -1  # in place of a box's number


@dataclasses.dataclass(frozen=True)
class Hits:
  """distance [R] m along unit rays, inf for nothing. box [R]: number, GROUND or NOTHING. normal [R, 3]: outward."""

  distance: np.ndarray
  box: np.ndarray
  normal: np.ndarray


def cast(origin_3: np.ndarray, rays_Rx3: np.ndarray, boxes_Nx7: np.ndarray) -> Hits:
  """The first hit of unit rays from one origin above the ground; a box around the origin itself is not seen."""
  rays = np.asarray(rays_Rx3, np.float32)
  origin = np.asarray(origin_3, np.float32)
  down = rays[:, 2] < 0
  distance = np.where(down, -origin[2] / np.where(down, rays[:, 2], -1), np.inf).astype(np.float32)
  box = np.where(down, GROUND, NOTHING)
  normal = np.zeros_like(rays)
  normal[down, 2] = 1.0
  ray, number, entry, axis = _entries(origin, rays, np.asarray(boxes_Nx7, np.float32))
  if len(ray):
    order = np.lexsort((entry, ray))
    ray, number, entry, axis = ray[order], number[order], entry[order], axis[order]
    first = np.concatenate([[True], ray[1:] != ray[:-1]])
    first &= entry < distance[ray]
    ray, number, entry, axis = ray[first], number[first], entry[first], axis[first]
    distance[ray], box[ray] = entry, number
    normal[ray] = _face_normals(rays[ray], boxes_Nx7[number, 6], axis)
  return Hits(distance, box, normal)


def _entries(origin, rays, boxes):
  """(ray, box, distance, axis of the face) of all entries."""
  offset = boxes[:, :3] - origin
  along = rays @ offset.T
  radius2 = 0.25 * (boxes[:, 3:6] ** 2).sum(-1)
  near = (offset**2).sum(-1) - along**2 <= radius2 * 1.01 + 0.01
  ray, number = np.nonzero(near & (along > 0))
  cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
  start = -np.stack([cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0],
                     offset[:, 2]], -1)[number]  # fmt: skip
  cos, sin, course = cos[number], sin[number], rays[ray]
  local = np.stack([cos * course[:, 0] + sin * course[:, 1], cos * course[:, 1] - sin * course[:, 0],
                    course[:, 2]], -1)  # fmt: skip
  local = np.where(np.abs(local) < 1e-9, 1e-9, local)
  half = 0.5 * boxes[number, 3:6] * np.sign(local)
  enter, leave = (-half - start) / local, (half - start) / local
  axis = enter.argmax(-1)
  entry = enter.max(-1)
  hit = (entry > 0) & (entry <= leave.min(-1))
  return ray[hit], number[hit], entry[hit], axis[hit]


def _face_normals(rays, yaw, axis):
  """Outward normals [n, 3] of the faces across `axis` (0 length, 1 width, 2 height) that the rays enter."""
  cos, sin, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
  axes = np.stack(
    [np.stack([cos, sin, zero], -1), np.stack([-sin, cos, zero], -1), np.stack([zero, zero, zero + 1], -1)], 1
  )
  outward = axes[np.arange(len(axis)), axis]
  return (-np.sign((outward * rays).sum(-1, keepdims=True)) * outward).astype(np.float32)
