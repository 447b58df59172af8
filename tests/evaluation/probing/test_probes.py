"""Probes: closed forms, chance within its exact interval, and what must never be scored."""

import math

import numpy as np
import pytest

from data.errors import BadInput
from evaluation.intervals import draw_scenes, interval
from evaluation.probing import probes, retrieval


def test_ridge_is_its_closed_form():
  rng = np.random.default_rng(0)
  x, y = rng.normal(2, 3, (50, 4)), rng.normal(size=(50, 2))
  probe = probes.ridge(x, y, np.array([0.1]))[0]
  z = (x - x.mean(0)) / x.std(0)
  weights = np.linalg.solve(z.T @ z + 50 * 0.1 * np.eye(4), z.T @ (y - y.mean(0)))
  np.testing.assert_allclose(probe.weights_DxK, weights, atol=1e-12)
  np.testing.assert_allclose(probe(x), z @ weights + y.mean(0), atol=1e-12)


def test_a_linear_quantity_is_read_out_exactly_whatever_its_units():
  rng = np.random.default_rng(1)
  x = rng.normal(size=(60, 5)) * [1, 1e3, 1e-3, 1, 1] + 7
  y = x @ rng.normal(size=(5, 1)) + 3
  scene = np.arange(60) // 6
  probe = probes.linear_probe(x[:48], y[:48], scene[:48])
  assert probe.alpha == probes.ALPHAS[0]  # no noise: the least shrinkage is best
  left = ((probe(x[48:]) - y[48:]) ** 2).sum() / ((y[48:] - y[:48].mean(0)) ** 2).sum()
  assert left < 1e-6


def test_noise_asks_for_the_most_shrinkage():
  rng = np.random.default_rng(2)
  probe = probes.linear_probe(rng.normal(size=(80, 60)), rng.normal(size=(80, 1)), np.arange(80) // 4)
  assert probe.alpha == probes.ALPHAS[-1]


def test_features_that_do_not_vary_change_nothing():
  rng = np.random.default_rng(3)
  x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
  still = np.concatenate([x, np.full((40, 1), 5.0), np.zeros((40, 1))], 1)
  one, two = (probes.ridge(features, y, np.array([0.1]))[0](features) for features in (x, still))
  np.testing.assert_allclose(one, two, atol=1e-12)


def test_neighbours_vote_and_the_nearer_ones_break_a_tie():
  angle = np.array([0.0, 0.1, 2.0, 2.1, 2.2])
  x = np.stack([np.cos(angle), np.sin(angle)], -1)
  scale = probes.standardiser(x)
  query = np.array([x[0], x[3]])
  classes = np.array([1, 1, 0, 0, 0])
  assert np.isfinite(scale(query)).all()
  np.testing.assert_array_equal(probes.nearest_neighbours(x, classes, query, 2, 3), [1, 0])
  np.testing.assert_array_equal(probes.nearest_neighbours(x, np.array([0, 1, 0, 1, 1]), x[:1], 2, 2), [0])


def test_few_shots_tell_separate_classes_apart_and_leave_rare_ones_out():
  x = np.repeat(np.eye(3) * 10, 4, axis=0) + np.random.default_rng(4).normal(size=(12, 3)) * 0.1
  classes = np.repeat([0, 1, 2], 4)
  np.testing.assert_array_equal(probes.few_shot(x, classes, x, classes, 2, 5, 0), np.ones(5))
  few, names = x[3:], classes[3:]  # class 0 has a single clip: it is neither an answer nor a question
  np.testing.assert_array_equal(probes.few_shot(few, names, x, classes, 2, 3, 0), np.ones(3))
  wrong = np.roll(classes, 4)  # asked as class 1 are the clips of class 0, and so on
  answers = probes.few_shot(few, names, x[8:], wrong[8:], 2, 3, 0)
  np.testing.assert_array_equal(answers, np.zeros(3))
  assert probes.few_shot(x, classes, x, classes, 5, 3, 0) is None


def test_a_scene_on_both_sides_is_refused():
  probes.require_apart(np.array([1, 2]), np.array([3]))
  with pytest.raises(BadInput, match="2 scenes are in both, scene 2"):
    probes.require_apart(np.array([1, 2, 3]), np.array([3, 2, 9]))
  with pytest.raises(BadInput, match="1 scene to fit on"):
    probes.linear_probe(np.ones((4, 2)), np.ones((4, 1)), np.zeros(4))


def test_duplicated_places_are_recalled_and_random_ones_by_chance():
  rng = np.random.default_rng(5)
  scene = np.repeat(np.arange(30), 2)
  place = np.repeat(rng.uniform(0, 1e4, (30, 2)), 2, axis=0)
  match = retrieval.matches(place, scene)
  assert (match.sum(-1) == 1).all()
  twins = retrieval.recall(np.repeat(rng.normal(size=(30, 8)), 2, axis=0), match, (1, 5))
  assert twins.found_QxK.all()
  np.testing.assert_allclose(twins.random_QxK, [[1 / 59, 5 / 59]] * 60)
  collapsed = retrieval.recall(np.ones((60, 8)), match, (1, 5))
  assert not collapsed.found_QxK.any()


def test_chance_is_that_of_random_rankings():
  rng = np.random.default_rng(6)
  scene, place = rng.integers(0, 4, 40), rng.uniform(0, 25, (40, 2))
  match = retrieval.matches(place, scene)
  runs = [retrieval.recall(rng.normal(size=(40, 6)), match, (3,)) for _ in range(200)]
  hits = np.mean([run.found_QxK.mean() for run in runs])
  chance = runs[0].random_QxK.mean()
  # 10: clips are not independent.
  assert abs(hits - chance) < 4 * math.sqrt(chance * (1 - chance) / (200 * 10))


def test_matches_are_near_in_the_same_scene_and_never_oneself():
  place = np.array([[0.0, 0.0], [6.0, 8.0], [6.0, 8.1], [0.0, 0.0]])
  np.testing.assert_array_equal(
    retrieval.matches(place, np.array([0, 0, 0, 1])),
    [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
  )


def test_an_interval_over_scenes_is_that_of_scenes_not_of_clips():
  """100 clips in 4 scenes, two of them right: the exact spread of a mean of four coins."""
  scene = np.repeat([7, 3, 9, 1], 25)
  right = np.isin(scene, [7, 9]).astype(float)
  drawn = draw_scenes(scene, 20000, 0)
  ratio = drawn.ratio(right, np.ones(100))
  for share, expected in ((0.0, 1 / 16), (0.25, 4 / 16), (0.5, 6 / 16)):
    assert abs((ratio == share).mean() - expected) < 0.015
  assert interval(ratio) == [0.0, 1.0]
  assert interval(np.array([np.nan])) is None
  assert interval(draw_scenes(np.full(100, 7), 50, 0).ratio(right, np.ones(100))) is None  # of one scene
