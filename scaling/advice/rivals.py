"""Grids that people run, at the cost of a design: what the same compute settles when it is spent without one."""

from collections.abc import Callable

import numpy as np

from scaling.advice import allocation, designer
from scaling.advice.designer import Design
from scaling.advice.family import Family
from scaling.laws.hoffmann import Law

RUNS, SIZES, AMOUNTS = 20, 5, 4
OFF = 4.0  # times N*

Grid = tuple[np.ndarray, np.ndarray]  # N [R], D [R]


def all_of(family: Family, law: Law, design: Design) -> dict[str, Grid]:
  """Each rival by name; those that the family is too coarse for are left out."""
  found = {"one ray": one_ray(family, law, design), "uniform 5 x 4": uniform(family, law, design)}
  other = off_centre(family, design)
  return found if other is None else found | {"off centre": other}


def one_ray(family: Family, law: Law, design: Design) -> Grid:
  """Runs of one tokens per parameter, as the optimum of the middle budget has it, sizes evenly spread."""
  middle = allocation.for_budget(law, family, float(np.exp(np.log(design.budgets).mean())))
  smallest = allocation.for_budget(law, family, float(design.budgets[0])).params

  def grid(largest: float) -> Grid:
    params = _nearest(family, np.geomspace(smallest, largest, RUNS))
    return params, params * middle.tokens / middle.params

  return _of_cost(family, grid, float(smallest), float(design.flops.sum()))


def uniform(family: Family, law: Law, design: Design) -> Grid:
  """SIZES sizes by AMOUNTS amounts of data, each evenly spread in logarithms between the optima of two budgets."""
  low = allocation.for_budget(law, family, float(design.budgets[0]))

  def grid(largest: float) -> Grid:
    high = allocation.for_budget(law, family, largest)
    params = _nearest(family, np.geomspace(low.params, high.params, SIZES))
    tokens = np.geomspace(low.tokens, high.tokens, AMOUNTS)
    return np.repeat(params, AMOUNTS), np.tile(tokens, SIZES)

  return _of_cost(family, grid, float(design.budgets[0]), float(design.flops.sum()))


def off_centre(family: Family, design: Design) -> Grid | None:
  """The design's own budgets, its sizes about OFF times N*."""
  sizes = round(len(design.params) / len(design.budgets) / (design.seed.max() + 1))
  seeds = int(design.seed.max()) + 1
  made = designer.profiles(family, design.budgets, design.centres * OFF, sizes, design.spread, seeds)
  return None if made is None else _scaled(family, (made.params, made.tokens), float(design.flops.sum()))


def _of_cost(family: Family, grid: Callable[[float], Grid], smallest: float, flops: float) -> Grid:
  """`grid(largest)` of the total cost, by bisection of ln largest; what sizes leave over goes to the data."""
  low, high = np.log(smallest * 1.01), np.log(smallest) + 40
  for _ in range(60):
    middle = (low + high) / 2
    low, high = (middle, high) if _cost(family, grid(np.exp(middle))) < flops else (low, middle)
  return _scaled(family, grid(np.exp(low)), flops)


def _scaled(family: Family, grid: Grid, flops: float) -> Grid:
  return grid[0], grid[1] * flops / _cost(family, grid)


def _cost(family: Family, grid: Grid) -> float:
  params, tokens = grid
  return float((family.flops_per_nd(params) * params * tokens).sum())


def _nearest(family: Family, params: np.ndarray) -> np.ndarray:
  """Sizes of the family nearest to N in ln N."""
  away = np.abs(np.log(family.params)[None, :] - np.log(params)[:, None])
  return family.params[away.argmin(1)]
