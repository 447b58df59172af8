"""Map elements as a set: perfect answers in any order and direction, masks, the price of silence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import map_elements

M, Q, P, CLASSES = 3, 5, 4, 2


def _scene():
  elements = jax.random.normal(jax.random.key(0), (2, 1, M, P, 2)) * 5
  return (
    elements,
    jnp.array([[[0, 1, 0]], [[1, 1, 0]]]),
    jnp.array([[[True, True, False]], [[True, True, True]]]),
  )


def _perfect(elements, kind, mask, order, backwards):
  """Answers that hold the elements at places `order`, sure of them, and none elsewhere."""
  points = jnp.zeros((2, 1, Q, P, 2)).at[:, :, order].set(elements[..., ::-1, :] if backwards else elements)
  target = jnp.full((2, 1, Q), CLASSES).at[:, :, order].set(jnp.where(mask, kind, CLASSES))
  return points, 30.0 * jax.nn.one_hot(target, CLASSES + 1)


@pytest.mark.parametrize("backwards", [False, True])
def test_perfect_answers_cost_nothing_wherever_they_stand(backwards):
  elements, kind, mask = _scene()
  points, logits = _perfect(elements, kind, mask, jnp.array([4, 0, 2]), backwards)
  found = map_elements.loss(points, logits, elements, kind, mask)
  np.testing.assert_allclose(found["loss"][0], 0, atol=1e-4)
  np.testing.assert_array_equal(found["loss"][1], [2, 3])
  np.testing.assert_array_equal(found["recall"][0], [2, 3])


def test_the_order_of_elements_and_of_answers_does_not_matter():
  elements, kind, mask = _scene()
  points = jax.random.normal(jax.random.key(1), (2, 1, Q, P, 2))
  logits = jax.random.normal(jax.random.key(2), (2, 1, Q, CLASSES + 1))
  turn, other = jnp.array([2, 0, 1]), jnp.array([3, 1, 4, 0, 2])
  before = map_elements.loss(points, logits, elements, kind, mask)
  after = map_elements.loss(
    points[:, :, other], logits[:, :, other], elements[:, :, turn], kind[:, :, turn], mask[:, :, turn]
  )
  for name in before:
    np.testing.assert_allclose(before[name][0], after[name][0], rtol=1e-5)


def test_silence_costs_the_classes_alone_and_a_shift_costs_its_length():
  elements, kind, mask = _scene()
  points, logits = _perfect(elements, kind, mask, jnp.array([0, 1, 2]), False)
  shifted = map_elements.loss(
    points + jnp.array([1.0, 0.0])[None, None, None, None], logits, elements, kind, mask
  )
  np.testing.assert_allclose(shifted["loss"][0], shifted["loss"][1] / map_elements.SCALE_M, rtol=1e-4)
  np.testing.assert_allclose(shifted["distance"][0], shifted["distance"][1], rtol=1e-4)


def test_absent_elements_teach_nothing():
  elements, kind, mask = _scene()
  elements = jnp.where(mask[..., None, None], elements, jnp.nan)
  points = jax.random.normal(jax.random.key(1), (2, 1, Q, P, 2))
  logits = jnp.zeros((2, 1, Q, CLASSES + 1))
  slope = jax.grad(lambda x: map_elements.loss(x, logits, elements, kind, mask)["loss"][0].sum())(points)
  assert bool(jnp.isfinite(slope).all())
  taught = (np.abs(slope).sum((-1, -2)) > 0).sum(-1)
  np.testing.assert_array_equal(taught, [[2], [3]])
