"""Sensitivity and bits: the twin with its recipe as an argument, errors over scenes, the best choice in a budget."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from data.errors import BadInput
from export import allocation, calibration, sensitivity
from export.adjustable import Adjustable
from export.judge import distance
from export.recipe import Recipe, Site
from export.reference import reference
from export.sensitivity import Row
from tests.export.test_artifacts import exported


def test_adjustable_twin_answers_as_the_twin():
  """Mixed: static of either sign, dynamic, by rows, four bits, float."""
  one = exported("motion")
  twin = Adjustable(one)
  observed = calibration.observe(one, [one.example])
  kinds = [calibration.static_recipe(observed, "minmax", sign, 8, {}).sites for sign in (False, True)]
  names = list(twin.weights)
  kinds += [
    dict.fromkeys(names, Site(8, "dynamic")),
    dict.fromkeys(names, Site(8, "rows")),
    dict.fromkeys(names, Site(4, "float")),
    {},
  ]
  sites = {name: own[name] for name, own in zip(names, itertools.cycle(kinds)) if name in own}
  recipe = Recipe(sites, {})
  told = dict(zip(one.outputs(), twin.answer(twin.settings(recipe), one.example), strict=True))
  assert distance(told, reference(one, recipe)(one.example)) < 1e-6
  assert distance(told, one(one.example)) > 1e-3

  weights = jax.tree.map(lambda w: 1.1 * w, one.weights)
  other = dataclasses.replace(one, weights=weights)
  own = twin.answer(Adjustable(other).settings(recipe), one.example, weights)
  assert distance(dict(zip(one.outputs(), own, strict=True)), reference(other, recipe)(one.example)) < 1e-6


def test_increase_is_a_ratio_over_scenes():
  """Scene 7 loses 1 nat over 2 tokens, scene 9 1 + 2 over 1 + 1: 1 a token on average."""
  after = np.asarray([5.0, 2.0, 5.5]), np.asarray([2.0, 1.0, 1.0])
  before = np.asarray([4.0, 1.0, 3.5]), after[1]
  mean, error = sensitivity.increase(after, before, np.asarray([7, 9, 9]))
  np.testing.assert_allclose([mean, error], [1.0, np.sqrt(2 * ((1 - 2) ** 2 + (3 - 2) ** 2)) / 4])
  assert np.isnan(sensitivity.increase(after, before, np.zeros(3, int))[1])


def test_allocation_is_the_best_of_all():
  rng = np.random.default_rng(0)
  names = ("int4", "int8", "float")
  for _ in range(20):
    sizes = rng.integers(1, 50, 6)
    costs = [dict(zip(names, (int(n), 2 * int(n), 8 * int(n)), strict=True)) for n in sizes]
    losses = [dict(zip(names, sorted(rng.random(3))[::-1], strict=True)) for _ in sizes]
    budget = int(rng.integers(sizes.sum(), 8 * sizes.sum()))

    def total(table, chosen):
      return sum(own[name] for own, name in zip(table, chosen, strict=True))

    chosen = allocation.allocate(costs, losses, budget)
    assert total(costs, chosen) <= budget
    allowed = [c for c in itertools.product(names, repeat=6) if total(costs, c) <= budget]
    assert total(losses, chosen) == pytest.approx(min(total(losses, c) for c in allowed))
  with pytest.raises(BadInput, match="no choice of bits fits"):
    allocation.allocate(costs, losses, int(sizes.sum()) - 1)


def test_sites_of_a_product_share_their_bits_and_the_sensitive_keep_theirs():
  weights = {name: np.zeros((16, 16), np.float32) for name in ("q", "k", "head")}
  candidates = {f"int{bits}": Recipe(dict.fromkeys(weights, Site(bits, "float")), {}) for bits in (8, 4)}
  rows = [Row(("q", "k"), "int8", 0.0, 0.0), Row(("q", "k"), "int4", 0.01, 0.0)]
  rows += [Row(("head",), "int8", 0.02, 0.0), Row(("head",), "int4", 0.5, 0.0)]
  four, eight = (allocation.weight_bytes((16, 16), bits) for bits in (4, 8))
  recipe = allocation.allocated(rows, candidates, weights, 2 * four + eight)
  assert {name: recipe.of(name).bits for name in weights} == {"q": 4, "k": 4, "head": 8}
  assert allocation.recipe_bytes(recipe, weights) == 2 * four + eight
