"""Scores in closed form, tails that add up over vehicles, and a budget of bytes that holds whatever is driven."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from federated import curation

ONES = np.ones((1, 6, 2), bool)


@jax.jit
def scores(values, mask, logits, tokens):
  """One program for all of them: compiling is most of what they cost."""
  return {
    "run": curation.longest_run(values, mask, 2),
    "unexpected": curation.unexpected(-values, mask, 2),
    "kept": curation.sustained(values[..., None], mask, 2),
    "surprise": curation.surprise(logits, tokens, mask, 2),
    "uncertainty": curation.uncertainty(logits, mask, 2),
    "disagreement": curation.disagreement(logits, jnp.flip(logits, -1), mask, 3),
    "agreement": curation.disagreement(logits, logits, mask, 3),
  }


def test_a_score_is_the_worst_run_of_one_agent_and_its_nats_are_those_of_the_distributions():
  values = np.zeros((1, 6, 2), np.float32)
  values[0, 1:4, 0], values[0, 4:, 1] = [1, 2, 3], 4
  chance = np.array([0.7, 0.2, 0.1])
  logits = np.broadcast_to(np.log(chance).astype(np.float32), (1, 6, 2, 3))
  tokens = np.zeros((1, 6, 2), np.int32)
  tokens[0, 2:4, 1] = 2
  found = jax.tree.map(np.asarray, scores(values, ONES, logits, tokens))
  assert found["run"] == found["unexpected"] == 8
  np.testing.assert_array_equal(found["kept"], [[4, 0]])  # for two moves; and the lowest is zero
  entropy, middle = -(chance * np.log(chance)).sum(), (chance + chance[::-1]) / 2
  np.testing.assert_allclose(found["surprise"], 2 * (-np.log(0.1) - entropy), rtol=1e-5)
  np.testing.assert_allclose(found["uncertainty"], 2 * entropy, rtol=1e-5)
  # The same from either side, by symmetry.
  np.testing.assert_allclose(found["disagreement"], 3 * (chance * np.log(chance / middle)).sum(), rtol=1e-4)
  np.testing.assert_allclose(found["agreement"], 0, atol=1e-6)
  last = ONES.copy()
  last[0, 4, 1] = False  # no two moves of the second agent that are its highest
  assert scores(values, last, logits, tokens)["run"] == 5
  np.testing.assert_array_equal(scores(values, ~ONES, logits, tokens)["kept"], 0)


def test_what_vehicles_count_adds_up_and_gives_the_tail_of_all_that_was_driven():
  rng = np.random.default_rng(0)
  vehicles = [rng.exponential(2.0, size) for size in (30_000, 5_000, 15_000)]
  low, high = -1.0, 40.0
  counts = sum(curation.count(own, low, high) for own in vehicles)
  np.testing.assert_array_equal(counts, curation.count(np.concatenate(vehicles), low, high))
  cut = curation.quantile(counts, low, high, 0.02)
  assert abs(cut - 2 * np.log(50)) < 0.1
  sums = [curation.beyond(own, cut) for own in vehicles]
  known = curation.tail(counts, low, high, cut, (sum(s for s, _ in sums), sum(n for _, n in sums)))
  scores = np.array([0.5, 2.0, 6.0, 12.0, 80.0])
  np.testing.assert_allclose(curation.worth(scores, known), scores / 2, rtol=0.1)  # -log exp(-s / 2)
  assert (np.diff(curation.worth(np.linspace(low, 90, 2000), known)) >= -1e-9).all()


def test_of_few_excesses_no_tail_is_made_up():
  counts = curation.count(np.ones(100), 0.0, 2.0)
  known = curation.tail(counts, 0.0, 2.0, 1.5, (0.1, 3))
  np.testing.assert_allclose(curation.worth(np.array([0.5, 1.0, 1.5]), known), [0, 0, np.log(100)])


def test_the_rarest_tag_counts():
  has = np.array([[True, True], [True, False], [False, False]])
  np.testing.assert_allclose(curation.rarity(has, np.array([999, 9]), 999), [np.log(100), 0.0, 0.0])


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_a_vehicle_sends_the_worthiest_that_fit_and_never_more_than_its_share(share):
  rng = np.random.default_rng(1)
  worth, size = rng.normal(size=3000), rng.integers(100, 1000, 3000)
  shelf = curation.Shelf(share, 600_000)
  for one, own in zip(worth, size, strict=True):
    shelf.add(float(one), int(own))
    assert shelf.used <= shelf.room
  sent = shelf.send()
  assert size[sent].sum() <= share * size.sum() < size[sent].sum() + 100  # nothing else would have fitted
  order = np.argsort(-worth)
  whole = int((size[order].cumsum() <= share * size.sum()).sum())
  assert sent[:whole] == order[:whole].tolist()


def test_a_shelf_without_room_lets_the_least_worthy_go():
  shelf = curation.Shelf(1.0, 2)
  for worth in (3.0, 1.0, 2.0, 5.0):
    shelf.add(worth, 1)
  assert shelf.send() == [3, 0]
