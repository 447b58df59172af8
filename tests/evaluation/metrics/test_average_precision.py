"""Average precision: closed forms, what is seen twice, what counts for nothing; Chamfer distance of polylines."""

import numpy as np
import pytest

from evaluation.metrics.average_precision import LEAST, Found, average_precision, chamfer


def found(score, apart, free=None):
  free = np.zeros(len(score), bool) if free is None else np.asarray(free)
  return Found(np.asarray(score, float), np.asarray(apart, float), free)


def both(frames, threshold=1.0):
  return average_precision(frames, threshold, 0.0), average_precision(frames, threshold, LEAST)


def test_all_found_is_one_none_found_is_zero_nothing_to_find_is_nan():
  perfect = [found([0.9, 0.8], [[0.1, 9], [9, 0.2]]), found([0.5], [[0.3]])]
  assert both(perfect) == (pytest.approx(1), pytest.approx(1))
  assert both(perfect, 0.05) == (0, 0)
  assert both([found([], np.zeros((0, 2)))]) == (0, 0)
  assert np.isnan(both([found([0.9], np.zeros((1, 0)))])).all()


def test_a_recall_that_is_reached_exactly_counts():
  """k of n found, no mistake: precision 1 at r <= k / n, so floor(100 k / n) + 1 of 101 and that - 10 of 90."""
  for n in range(1, 31):
    for k in range(1, n + 1):
      lines, boxes = both([found(np.arange(k, 0, -1), np.where(np.eye(k, n), 0.1, 9.0))])
      assert lines == pytest.approx((100 * k // n + 1) / 101), (k, n)
      assert boxes == pytest.approx(max(100 * k // n - 10, 0) / 90), (k, n)


def test_a_mistake_between_two_hits_by_hand():
  """Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1."""
  frames = [found([0.9, 0.5], [[0.1], [5.0]]), found([0.2], [[0.1]])]
  lines, boxes = both(frames)
  assert lines == pytest.approx((51 + 50 * 2 / 3) / 101)
  assert boxes == pytest.approx((40 * 0.9 + 50 * (2 / 3 - 0.1)) / 0.9 / 90)


def test_what_is_seen_twice_is_right_once():
  assert both([found([0.9, 0.8], [[0.1], [0.2]])])[0] == pytest.approx(1)  # the mistake comes last
  twice = [found([0.9, 0.8, 0.1], [[0.1, 9], [0.2, 9], [9, 0.1]])]
  assert both(twice)[0] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_surer_answer_takes_its_truth_over_all_frames():
  """The surest is far off: 0, 1/2 at recall 0, 1; the order of frames and of answers in them does not matter."""
  frames = [found([0.3], [[0.1]]), found([0.9], np.zeros((1, 0)))]
  assert both(frames)[0] == pytest.approx(0.5)
  assert both(frames[::-1]) == both(frames)
  assert both([found([0.3, 0.9], [[0.1], [7.0]])]) == both(frames)


def test_free_answers_count_where_they_match_and_else_not_at_all():
  free = [found([0.9, 0.3], [[7.0], [0.1]], [True, False])]
  assert both(free)[0] == pytest.approx(1)
  assert both([found([0.9], [[0.1]], [True])])[0] == pytest.approx(1)
  assert both([found([0.9, 0.3], [[7.0], [0.1]])])[0] == pytest.approx(0.5)


def test_chamfer_of_shifted_and_of_turned_polylines():
  line = np.stack([np.linspace(0, 10, 11), np.zeros(11)], -1)
  others = np.stack([line, line[::-1], line + [0, 2], line + [1, 0]])
  # Shifted by a point along itself, one end of eleven misses by 1 m, either way.
  np.testing.assert_allclose(chamfer(line[None], others), [[0, 0, 2, 1 / 11]])
