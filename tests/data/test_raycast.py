"""Rays against boxes and the ground: closed forms, and every hit on the surface it claims."""

import math

import numpy as np
import pytest

from data.raycast import GROUND, NOTHING, cast


def unit(*values):
  return np.array([values], np.float64) / np.linalg.norm(values)


def surface_distance(points, boxes):
  """[n]: how far each point is from the surface of its box."""
  offset = points - boxes[:, :3]
  cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
  local = np.stack([cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0],
                    offset[:, 2]], -1)  # fmt: skip
  beyond = np.abs(local) - 0.5 * boxes[:, 3:6]
  outside = np.linalg.norm(np.maximum(beyond, 0), axis=-1)
  return np.abs(outside + np.minimum(beyond.max(-1), 0))


def test_a_face_ahead_the_ground_below_and_the_sky_above():
  box = np.array([[10.0, 0, 1, 4, 2, 2, 0]])
  rays = np.concatenate([unit(1, 0, 0), unit(0, 0, -1), unit(1, 0, 1), unit(1, 0, -1), unit(-1, 0, 0)])
  hits = cast(np.array([0, 0, 1.5]), rays, box)
  np.testing.assert_allclose(hits.distance, [8, 1.5, np.inf, 1.5 * math.sqrt(2), np.inf], rtol=1e-6)
  assert hits.box.tolist() == [0, GROUND, NOTHING, GROUND, NOTHING]
  np.testing.assert_allclose(hits.normal[:2], [[-1, 0, 0], [0, 0, 1]], atol=1e-6)


def test_a_turned_box_is_met_at_its_corner():
  box = np.array([[10.0, 0, 1, 2, 2, 2, math.pi / 4]])
  hits = cast(np.array([0, 0, 1.0]), unit(1, 1e-4, 0), box)
  assert hits.distance[0] == pytest.approx(10 - math.sqrt(2), abs=1e-3)
  np.testing.assert_allclose(np.abs(hits.normal[0]), [math.sqrt(0.5), math.sqrt(0.5), 0], atol=1e-6)


def test_the_nearer_of_two_boxes_hides_the_other():
  boxes = np.array([[20.0, 0, 1, 2, 2, 2, 0.3], [10.0, 0, 1, 2, 2, 2, 0]])
  assert cast(np.array([0, 0, 1.0]), unit(1, 0, 0), boxes).box.tolist() == [1]
  assert cast(np.array([0, 0, 1.0]), unit(1, 0, 0), boxes[::-1]).box.tolist() == [0]


def test_a_box_around_the_origin_is_not_seen():
  boxes = np.array([[0.0, 0, 1, 4, 2, 2, 0], [10.0, 0, 1, 2, 2, 2, 0]])
  hits = cast(np.array([0, 0, 1.0]), unit(1, 0, 0), boxes)
  assert (hits.box[0], hits.distance[0]) == (1, 9.0)


def test_hits_lie_on_surfaces_and_equal_those_of_a_dense_march():
  rng = np.random.default_rng(0)
  boxes = np.column_stack([
    rng.uniform(-25, 25, (12, 2)), np.ones(12), rng.uniform(1, 8, (12, 2)), np.full(12, 2.0),
    rng.uniform(-np.pi, np.pi, 12),
  ])  # fmt: skip
  boxes = boxes[np.hypot(boxes[:, 0], boxes[:, 1]) > 7]
  rays = rng.normal(size=(400, 3)) * [1, 1, 0.1]
  rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
  origin = np.array([0.5, -0.5, 1.2])
  hits = cast(origin, rays, boxes)
  solid = hits.box >= 0
  assert 50 < solid.sum() < 350
  points = origin + hits.distance[solid, None] * rays[solid]
  assert surface_distance(points, boxes[hits.box[solid]]).max() < 1e-3
  assert ((hits.normal * rays).sum(-1)[np.isfinite(hits.distance)] < 0).all()
  for ray, found in zip(rays, hits.distance, strict=True):  # nothing is entered before the hit
    along = np.arange(0.05, min(found, 40.0) - 0.1, 0.1)
    steps = origin + along[:, None] * ray
    assert (steps[:, 2] > 0).all()
    for box in boxes:
      offset = steps - box[:3]
      cos, sin = np.cos(box[6]), np.sin(box[6])
      inside = np.abs(cos * offset[:, 0] + sin * offset[:, 1]) < 0.5 * box[3] - 1e-3
      inside &= np.abs(cos * offset[:, 1] - sin * offset[:, 0]) < 0.5 * box[4] - 1e-3
      assert not (inside & (np.abs(offset[:, 2]) < 0.5 * box[5] - 1e-3)).any()
