"""The highway domain: two carriageways with exits and entries."""

import numpy as np

from data.sumo_plan import Plan


def highway(plan: Plan, rng: np.random.Generator) -> None:
  """Two swaying carriageways with exits and entries over auxiliary lanes."""
  lanes = int(rng.integers(2, 5))
  speed = rng.choice([25.0, 27.78, 33.33])
  length, amplitude = rng.uniform(1800, 2600), rng.uniform(20, 90)
  wave, phase = rng.uniform(1500, 3000), rng.uniform(0, 2 * np.pi)
  median = rng.uniform(4, 14)
  leave, join = rng.uniform(0.24, 0.32), rng.uniform(0.58, 0.66)
  places = np.array([0, leave - 0.1, leave, join, join + 0.12, 1.0]) * length
  kinds = ["main", "leave", "main", "join", "main"]

  def centre(s):
    return np.stack([s, amplitude * np.sin(2 * np.pi * s / wave + phase)], -1)

  def offset(s, aside):
    """`aside` m to the left of the centre line."""
    slope = 2 * np.pi / wave * amplitude * np.cos(2 * np.pi * s / wave + phase)
    normal = np.stack([-slope, np.ones_like(s)], -1) / np.sqrt(1 + slope**2)[:, None]
    return centre(s) + aside * normal

  for way in (1, -1):
    side = way if plan.left_hand else -way  # eastbound lies to the right of the median
    name = "e" if way > 0 else "w"
    along = places if way > 0 else length - places
    for k, s in enumerate(along):
      plan.node(f"{name}{k}", offset(np.array([s]), side * median / 2)[0])
    for k, kind in enumerate(kinds):
      count = max(int(abs(along[k + 1] - along[k]) / 12), 2) + 1
      shape = offset(np.linspace(along[k], along[k + 1], count), side * median / 2)
      plan.edge(f"{name}{k}", f"{name}{k + 1}", speed, lanes + (kind != "main"), shape, priority=9)
    _ramps(plan, rng, name, offset, side, way, lanes, median)


def _ramps(plan: Plan, rng, name: str, offset, side: int, way: int, lanes: int, median: float) -> None:
  """An exit at node 2 and an entry at node 3 of carriageway `name`; lane 0 is the outer lane."""
  edge = {k: f"{name}{k}-{name}{k + 1}" for k in range(5)}

  def connect(start, end, first, second, count):
    for k in range(count):
      values = {"from": start, "to": end, "fromLane": first + k, "toLane": second + k}
      plan.connections.append({key: str(value) for key, value in values.items()})

  for node, leaving in (2, True), (3, False):
    here = float(plan.nodes[f"{name}{node}"][0][0])
    along = np.linspace(0, 1, 25)
    s = here + way * (1 if leaving else -1) * rng.uniform(150, 220) * along
    aside = median / 2 + plan.lane_width * (lanes + 0.5) + rng.uniform(40, 80) * along**2
    shape = np.concatenate([offset(s[k : k + 1], side * aside[k]) for k in range(len(s))])
    far = plan.node(f"{name}{node}ramp", shape[-1])
    speed = rng.uniform(16.7, 22.2)
    attributes = {"type": "ramp", "priority": 1, "spreadType": "center"}
    if leaving:
      ramp = plan.edge(f"{name}{node}", far, speed, 1, shape, **attributes)
      connect(edge[1], ramp, 0, 0, 1)
    else:
      ramp = plan.edge(far, f"{name}{node}", speed, 1, shape[::-1], **attributes)
      connect(ramp, edge[3], 0, 0, 1)
  connect(edge[0], edge[1], 0, 1, lanes)
  connect(edge[1], edge[2], 1, 0, lanes)
  connect(edge[2], edge[3], 0, 1, lanes)
  connect(edge[3], edge[4], 1, 0, lanes)
