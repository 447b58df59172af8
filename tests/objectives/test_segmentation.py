"""Segmentation and occupancy: closed forms, counts that add up, steps that are not there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import segmentation


def test_uniform_logits_cost_the_logarithm_of_the_classes():
  labels = jnp.array([[[0, 1], [2, 3]]])
  found = segmentation.loss(jnp.zeros((1, 2, 2, 4)), labels, jnp.array([[[True, True], [True, False]]]))
  assert float(found["loss"][0][0] / found["loss"][1][0]) == pytest.approx(np.log(4), rel=1e-6)
  assert float(found["loss"][1][0]) == 3


def test_intersection_over_union_by_hand():
  """Truth 0 0 1 2, said 0 1 1 1 (last unknown): class 0: 1 of 2, class 1: 1 of 2, class 2: never there."""
  labels, said = jnp.array([[0, 0, 1, 2]]), jnp.array([[0, 1, 1, 1]])
  found = segmentation.loss(10.0 * jax.nn.one_hot(said, 4), labels, jnp.array([[True, True, True, False]]))
  np.testing.assert_array_equal(found["iou"][0], [[1, 1, 0, 0]])
  np.testing.assert_array_equal(found["iou"][1], [[2, 2, 0, 0]])


def test_later_cells_are_those_of_later_steps():
  cells = jnp.arange(4)[None, :, None, None] * jnp.ones((1, 4, 2, 2), jnp.int32)
  labels, mask = segmentation.later(cells, 2)
  np.testing.assert_array_equal(labels[0, :, :, 0, 0][mask[0, :, :, 0, 0]], [1, 2, 2, 3, 3])
  np.testing.assert_array_equal(mask[0, :, :, 0, 0], [[1, 1], [1, 1], [1, 0], [0, 0]])


def test_unknown_cells_teach_nothing():
  mask = jnp.array([[True, False]])
  slope = jax.grad(lambda x: segmentation.loss(x, jnp.array([[0, 1]]), mask)["loss"][0].sum())(
    jnp.ones((1, 2, 3))
  )
  np.testing.assert_array_equal(slope[0, 1], 0)
  assert float(jnp.abs(slope[0, 0]).max()) > 0
