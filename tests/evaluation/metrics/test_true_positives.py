"""Errors of found boxes: closed forms by hand, recall by recall."""

import numpy as np
import pytest

from evaluation.metrics.average_precision import Found
from evaluation.metrics.true_positives import box_errors, detection_score, true_positive_error


def box(x=0.0, y=0.0, size=(4.0, 2.0, 1.5), yaw=0.0):
  return np.array([[x, y, 9.0, *size, yaw]])


@pytest.mark.parametrize(
  ("answer", "translation", "scale", "orientation"),
  [
    (box(), 0, 0, 0),
    (box(3, -4, yaw=np.pi), 5, 0, np.pi),  # what is turned round is as large
    (box(size=(4, 2, 3)), 0, 0.5, 0),
    (box(size=(2, 4, 1.5)), 0, 1 - 6 / 18, 0),  # 2 x 2 x 1.5 in common
    (box(yaw=2 * np.pi - 0.1), 0, 0, 0.1),
    (box(yaw=-3 * np.pi), 0, 0, np.pi),
  ],
)
def test_errors_of_a_pair(answer, translation, scale, orientation):
  found = box_errors(answer, box())
  assert [float(found[name][0, 0]) for name in found] == pytest.approx([translation, scale, orientation])


def frame(scores, apart):
  return Found(np.array(scores, float), np.array(apart, float), np.zeros(len(scores), bool))


def test_an_error_is_the_mean_over_recalls_of_the_surest_hits():
  """Four truths, two found: 0.5 m off at recall 0.11 to 0.25, then (0.5 + 1.5) / 2 up to 0.5; a miss counts nothing."""
  frames = [frame([0.9, 0.8], [[0.5, 9, 9], [9, 7, 7]]), frame([0.3], [[1.5]])]
  errors = [one.apart_NxK for one in frames]
  assert true_positive_error(frames, errors) == pytest.approx((15 * 0.5 + 25 * 1.0) / 40)
  assert true_positive_error(frames[::-1], errors[::-1]) == pytest.approx((15 * 0.5 + 25 * 1.0) / 40)


def test_too_little_found_is_the_worst_and_nothing_to_find_is_nan():
  far = np.full((1, 10), 9.0)
  far[0, 0] = 0.1
  assert true_positive_error([frame([0.9], far)], [far]) == 1.0, "a recall of 0.1 is not enough"
  assert true_positive_error([frame([0.9], far[:, :9])], [far[:, :9]]) == pytest.approx(0.1)
  beyond = np.array([[2.0]])
  assert true_positive_error([frame([0.9], beyond)], [beyond]) == 1.0, "2 m is no hit"
  assert np.isnan(true_positive_error([frame([0.9], np.zeros((1, 0)))], [np.zeros((1, 0))]))


def test_the_detection_score_weighs_precision_five_times_an_error():
  assert detection_score(1.0, [0.0, 0.0, 0.0]) == 1
  assert detection_score(0.4, [0.5, 7.0, 0.25]) == pytest.approx((2.0 + 0.5 + 0 + 0.75) / 8)
  assert detection_score(0.4, [0.5] * 5) == pytest.approx((2.0 + 2.5) / 10), "as in nuScenes"
