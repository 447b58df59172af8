"""Detection: what perfect heads say is decoded to the boxes, focal loss in closed form, slots, masks, faults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.heads_config import BOX_NUMBERS
from objectives import detection

CELL_M, REAR_M, SHAPE = 1.0, 4.0, (16, 16, 2)
SURE = jnp.zeros((1, 1, *SHAPE[:2]), bool)


def _scene():
  """A batch of one step: a car, a pedestrian, an empty slot, an agent outside the grid."""
  boxes = jnp.array([
    [2.3, 1.7, 0.8, 4.5, 1.9, 1.5, 0.4],
    [7.1, -5.2, 0.9, 0.6, 0.6, 1.8, -3.0],
    [0.5, 0.5, 0.0, 4.0, 2.0, 1.5, 0.0],
    [99.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0],
  ])[None, None]  # fmt: skip
  present = jnp.array([True, True, False, True])[None, None]
  return boxes, present, jnp.array([0, 1, 0, 0])[None, None]


def _perfect(boxes, present, kind):
  """Logits that are sure of the target, and boxes right in the cells of centres."""
  inside = present & (boxes[..., 0] < 12)
  y = detection.heat_target(boxes, inside, kind, SHAPE, CELL_M, REAR_M)
  heat = jnp.where(y == 1, 20.0, -20.0)
  _, cell = detection.place(boxes, CELL_M, REAR_M, SHAPE[1])
  wanted = detection.box_target(boxes, CELL_M, REAR_M, SHAPE[1])
  box = jnp.zeros((1, 1, *SHAPE[:2], BOX_NUMBERS))
  for k in range(2):
    box = box.at[0, 0, cell[0, 0, k, 0], cell[0, 0, k, 1]].set(wanted[0, 0, k])
  return heat, box


def _loss(heat, box, scene, unsure=SURE):
  return {
    name: (float(total.sum()), float(count.sum()))
    for name, (total, count) in detection.loss(heat, box, *scene, unsure, CELL_M, REAR_M).items()
  }


def test_perfect_heads_cost_nothing_and_decode_to_the_boxes():
  scene = _scene()
  heat, box = _perfect(*scene)
  found = _loss(heat, box, scene)
  assert found["loss"] == (pytest.approx(0, abs=1e-5), 2)
  assert found["recall"] == (2, 2)
  assert found["precision"] == (2, 2)
  score, kind, boxes = detection.decode(heat, box, 2, CELL_M, REAR_M)
  order = np.argsort(boxes[0, 0, :, 0])
  np.testing.assert_allclose(boxes[0, 0][order], scene[0][0, 0, :2], atol=1e-5)
  np.testing.assert_array_equal(kind[0, 0][order], [0, 1])
  assert float(score.min()) > 0.99


def test_flat_heat_costs_its_closed_form():
  """p = 0.5 everywhere: -0.25 log 0.5 for each centre, times (1 - y)^4 for every other cell and class."""
  boxes, present, kind = _scene()
  y = detection.heat_target(boxes, present & (boxes[..., 0] < 12), kind, SHAPE, CELL_M, REAR_M)
  assert float((y == 1).sum()) == 2
  found = _loss(jnp.zeros((1, 1, *SHAPE)), jnp.zeros((1, 1, *SHAPE[:2], 8)), (boxes, present, kind))
  weight = 2 + float(((1 - y) ** 4 * (y < 1)).sum())
  assert found["focal"][0] == pytest.approx(0.25 * np.log(2) * weight, rel=1e-5)


def test_the_order_of_slots_does_not_matter():
  heat = jax.random.normal(jax.random.key(0), (1, 1, *SHAPE))
  box = jax.random.normal(jax.random.key(1), (1, 1, *SHAPE[:2], 8))
  scene = _scene()
  turned = tuple(value[:, :, jnp.array([3, 1, 0, 2])] for value in scene)
  before, after = _loss(heat, box, scene), _loss(heat, box, turned)
  for name in before:
    assert before[name] == pytest.approx(after[name], rel=1e-5)


def test_absent_agents_and_other_cells_teach_the_box_nothing():
  boxes, present, kind = _scene()
  boxes = boxes.at[0, 0, 2].set(jnp.nan)
  heat, box = jnp.zeros((1, 1, *SHAPE)), jnp.zeros((1, 1, *SHAPE[:2], 8))

  def loss(box):
    found = detection.loss(heat, box, boxes, present, kind, SURE, CELL_M, REAR_M)
    return found["loss"][0].sum(), found

  slope, _ = jax.jit(jax.grad(loss, has_aux=True))(box)
  taught = np.argwhere(np.abs(slope[0, 0]).sum(-1) > 0)
  np.testing.assert_array_equal(taught, [[6, 9], [11, 2]])  # x + 4 and y + 8, rounded down
  assert bool(jnp.isfinite(slope).all())


def test_a_box_of_another_class_or_far_away_is_not_found():
  scene = _scene()
  heat, box = _perfect(*scene)
  assert _loss(heat[..., ::-1], box, scene)["recall"] == (0, 2)
  assert _loss(jnp.roll(heat, 4, 2), box, scene)["recall"][0] == 0


def test_a_box_that_is_seen_twice_is_found_once():
  """One box, two peaks two cells apart, both near it: half of what is said is right."""
  boxes = jnp.array([[0.5, 0.5, 0.0, 1.0, 1.0, 1.0, 0.0], [9.5, 0.5, 0.0, 1.0, 1.0, 1.0, 0.0]])[None, None]
  scene = boxes, jnp.array([[[True, False]]]), jnp.zeros((1, 1, 2), jnp.int32)
  heat = jnp.full((1, 1, *SHAPE), -20.0).at[0, 0, jnp.array([4, 5]), jnp.array([8, 10]), 0].set(20.0)
  found = _loss(heat, jnp.zeros((1, 1, *SHAPE[:2], 8)), scene)
  assert found["precision"] == (1, 2)
  assert found["recall"] == (1, 1)


def test_the_surer_peak_takes_its_box_and_leaves_the_other():
  apart = jnp.array([[0.5, 1.0], [0.2, 1.5], [0.1, 0.3]])[None, None]  # of three peaks, best first
  np.testing.assert_array_equal(detection.match(apart)[0, 0], [True, True, False])


def _unsure():
  """A car that was seen, one that was not, and one that has no slot."""
  boxes = jnp.array([
    [2.5, 2.5, 0.8, 4.0, 2.0, 1.5, 0.0],
    [2.5, -4.5, 0.8, 2.2, 4.2, 1.5, np.pi / 2],
  ])[None, None]  # fmt: skip
  present, seen = jnp.ones((1, 1, 2), bool), jnp.array([[[True, False]]])
  agent = SURE.at[0, 0, 6, 10].set(True).at[0, 0, 11, 12].set(True)
  return boxes, seen, detection.unsure(agent, boxes, present, seen, CELL_M, REAR_M)


def test_cells_of_agents_that_are_not_asked_for_are_unsure():
  """Cell [6, 10] is the seen car's own. The unseen one is turned, 2 m along y and 4 m along x about cell [6, 3]."""
  _, _, unsure = _unsure()
  wanted = np.zeros(SHAPE[:2], bool)
  wanted[4:9, 2:5] = True
  wanted[11, 12] = True
  np.testing.assert_array_equal(unsure[0, 0], wanted)


def test_heat_on_agents_that_are_not_asked_for_costs_nothing_and_no_precision():
  boxes, seen, unsure = _unsure()
  scene = boxes, seen, jnp.zeros((1, 1, 2), jnp.int32)
  sure = jnp.full((1, 1, *SHAPE), -20.0).at[0, 0, 6, 10, 0].set(20.0)
  box = jnp.zeros((1, 1, *SHAPE[:2], 8))
  before = _loss(sure, box, scene, unsure)
  also = sure.at[0, 0, 6, 3, 0].set(20.0).at[0, 0, 11, 12, 0].set(20.0)
  assert _loss(also, box, scene, unsure) == before
  assert before["precision"] == before["recall"] == (1, 1)
  punished = _loss(also, box, scene)
  assert punished["focal"][0] > before["focal"][0] + 10
  assert punished["precision"] == (1, 2)  # of two peaks, as many as slots
  elsewhere = sure.at[0, 0, 14, 1, 0].set(20.0)
  assert _loss(elsewhere, box, scene, unsure)["focal"][0] > before["focal"][0] + 10
