"""Scores of bird's-eye views in closed form."""

import numpy as np
import pytest

from evaluation.codes.cell_scores import cell_pairs, cell_scores


def test_scores_are_counted_by_hand():
  """Road 1, vehicle 7, pedestrian 10: of eight cells six are right, one vehicle is taken for a pedestrian."""
  truth = np.array([[[1, 1, 1, 1], [7, 7, 10, 0]]], np.uint8)
  predicted = np.array([[[1, 1, 1, 7], [7, 10, 10, 0]]])
  found = cell_scores(cell_pairs(predicted, truth))
  assert found["accuracy"] == 6 / 8
  assert found["iou"]["road"] == 3 / 4
  assert found["iou"]["vehicle"] == 1 / 3
  assert found["iou"]["pedestrian"] == 1 / 2
  assert found["iou"]["off_road"] == 1
  assert found["iou"]["building"] is None
  assert found["mean_iou"] == pytest.approx((3 / 4 + 1 / 3 + 1 / 2 + 1) / 4)
  assert found["agents_iou"] == 3 / 4  # as one class: three cells of both, one of the prediction alone


def test_what_only_the_prediction_shows_is_no_class_to_average():
  found = cell_scores(cell_pairs(np.array([[[1, 6]]]), np.array([[[1, 1]]])))
  assert found["iou"]["building"] == 0 and found["mean_iou"] == found["iou"]["road"] == 1 / 2
  assert found["agents_iou"] is None
