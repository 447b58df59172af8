"""Bits for every product, so that the loss is least and the bytes are within a budget.

  minimise  sum_g loss[g, c(g)]   subject to  sum_g bytes[g, c(g)] <= budget,   c(g) a candidate for the product g

with losses measured one product at a time (export/sensitivity.py), as if they added up. Solved exactly: over products
one after the other, of all ways to spend so many bytes the best is kept. Y. Hubara et al., arXiv:2006.10518.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from data.errors import BadInput
from export.recipe import Recipe, Site
from export.sensitivity import Group, Row

FLOAT = "float"  # the candidate that leaves a product as it is


def weight_bytes(shape: tuple[int, int], bits: int) -> int:
  """Of a weight [K, N] in an artifact: integers, with a float32 scale and a zero point for every column."""
  k, n = shape
  return 4 * k * n if bits == 32 else -(-k * n * bits // 8) + 4 * n + -(-n * bits // 8)


def allocate(
  costs: Sequence[Mapping[str, int]], losses: Sequence[Mapping[str, float]], budget: int
) -> list[str]:
  """The candidate for every product. costs: bytes (or any other whole number that adds up) of each candidate.

  Raises BadInput when even the cheapest candidates cost more than the budget.
  """
  # {spent: (loss, candidates)}, without those that another beats in both.
  best: list[tuple[int, float, tuple[str, ...]]] = [(0, 0.0, ())]
  for cost, loss in zip(costs, losses, strict=True):
    tried = sorted(
      (spent + cost[name], lost + loss[name], (*chosen, name))
      for spent, lost, chosen in best
      for name in cost
    )
    best, least = [], np.inf
    for one in tried:
      if one[1] < least:
        best.append(one)
        least = one[1]
  within = [one for one in best if one[0] <= budget]
  if not within:
    what = f"no choice of bits fits: the smallest has {best[0][0]:,} bytes"
    raise BadInput(what, f"a budget of {budget:,} bytes", "allow more, or export a smaller model")
  return list(min(within, key=lambda one: one[1])[2])


def allocated(
  rows: Sequence[Row], candidates: Mapping[str, Recipe], weights: Mapping[str, np.ndarray], budget: int
) -> Recipe:
  """The recipe of least summed increase within `budget` bytes of weights; a product's sites share their bits.

  weights: {site: weight_KxN}. Raises BadInput when no error is known.
  """
  groups: list[Group] = list(dict.fromkeys(row.group for row in rows))
  if not all(np.isfinite(row.error) for row in rows):
    raise BadInput("records of one scene know no error", "the measured increases", "measure on more records")
  costs, losses = [], []
  for group in groups:
    own = {row.candidate: row for row in rows if row.group == group}
    bits = {name: candidates[name].of(group[0]).bits for name in own} | {FLOAT: 32}
    costs.append(
      {name: sum(weight_bytes(weights[site].shape, n) for site in group) for name, n in bits.items()}
    )
    losses.append({name: expected(row) for name, row in own.items()} | {FLOAT: 0.0})
  sites: dict[str, Site] = {}
  for group, name in zip(groups, allocate(costs, losses, budget), strict=True):
    if name != FLOAT:
      sites |= {site: candidates[name].of(site) for site in group}
  notes = next(iter(candidates.values())).calibration
  return Recipe(sites, notes | {"allocated_bytes": budget})


def expected(row: Row) -> float:
  """Its increase, which is no gain, and one error more: what few records say little of is not given away."""
  return max(row.increase, 0.0) + row.error


def recipe_bytes(recipe: Recipe, weights: Mapping[str, np.ndarray]) -> int:
  return sum(weight_bytes(weight.shape, recipe.of(name).bits) for name, weight in weights.items())
