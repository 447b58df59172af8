"""The apron domain: service roads along rows of aircraft stands, where tugs and loaders stop for a while."""

import itertools

import numpy as np

from data.sumo_plan import Plan

STAND = "stand"  # edge type


def apron(plan: Plan, rng: np.random.Generator) -> None:
  """Two-way service roads of one lane each way, joined by one-way stands; 15 to 30 km/h."""
  rows, stands = int(rng.integers(3, 5)), int(rng.integers(7, 11))
  pitch, depth = rng.uniform(38, 60), rng.uniform(60, 95)
  road_speed, stand_speed = rng.uniform(6.9, 8.4), rng.uniform(3.8, 4.6)
  skew = rng.uniform(-0.3, 0.3)
  for r in range(rows):
    for k in range(-1, stands + 1):
      reach = 60.0 if k in (-1, stands) else 0.0
      x = pitch * k + skew * depth * r + (reach if k > 0 else -reach)
      plan.node(_at(r, k, stands), (x, depth * r))
  for r in range(rows):
    for a, b in itertools.pairwise(range(-1, stands + 1)):
      plan.road(_at(r, a, stands), _at(r, b, stands), road_speed, priority=3)
  for r in range(rows - 1):
    for k in range(stands):
      low, high = _at(r, k, stands), _at(r + 1, k, stands)
      if k in (0, stands - 1):  # the ends of the rows are ordinary links both ways
        plan.road(low, high, road_speed, priority=3)
      elif rng.random() < 0.5:
        plan.edge(low, high, stand_speed, priority=1, type=STAND)
      else:
        plan.edge(high, low, stand_speed, priority=1, type=STAND)


def _at(row: int, place: int, stands: int) -> str:
  return f"r{row}" + ("west" if place < 0 else "east" if place == stands else f"s{place}")
