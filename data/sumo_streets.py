"""Street networks: signalised grid, suburb, rings with radials, country roads, roundabouts."""

import itertools

import numpy as np

from data.sumo_plan import Plan, arc, bent, bezier

_LIGHTS = ["--tls.left-green.time", "0", "--tls.yellow.time", "3"]


def urban_grid(plan: Plan, rng: np.random.Generator) -> None:
  """Signalised blocks with sidewalks, crossings and some bicycle lanes; avenues have two lanes."""
  columns, rows = rng.integers(3, 5, 2)
  width, height = rng.uniform(95, 150, 2)
  fringe = rng.uniform(80, 120)
  speed = rng.choice([8.33, 11.11, 13.89])
  lanes_of = {("x", j): int(rng.integers(1, 3)) for j in range(rows)}
  lanes_of |= {("y", i): int(rng.integers(1, 3)) for i in range(columns)}
  bikes_of = {key: bool(rng.random() < 0.4) for key in lanes_of}
  x = np.arange(columns) * width + rng.uniform(-0.12, 0.12, columns) * width
  y = np.arange(rows) * height + rng.uniform(-0.12, 0.12, rows) * height

  def street(a, b, key):
    attributes = {"sidewalkWidth": 2.0} | ({"bikeLaneWidth": 1.6} if bikes_of[key] else {})
    plan.road(a, b, speed, lanes_of[key], priority=lanes_of[key], **attributes)

  for i in range(columns):
    for j in range(rows):
      kind = "traffic_light" if rng.random() < 0.85 else "priority"
      plan.node(f"x{i}y{j}", (x[i], y[j]), kind)
  for i in range(columns):
    plan.node(f"x{i}south", (x[i], y[0] - fringe))
    plan.node(f"x{i}north", (x[i], y[-1] + fringe))
    stops = [f"x{i}south", *(f"x{i}y{j}" for j in range(rows)), f"x{i}north"]
    for a, b in itertools.pairwise(stops):
      street(a, b, ("y", i))
  for j in range(rows):
    plan.node(f"westy{j}", (x[0] - fringe, y[j]))
    plan.node(f"easty{j}", (x[-1] + fringe, y[j]))
    stops = [f"westy{j}", *(f"x{i}y{j}" for i in range(columns)), f"easty{j}"]
    for a, b in itertools.pairwise(stops):
      street(a, b, ("x", j))
  cycle = int(rng.integers(28, 45))
  plan.options += ["--crossings.guess", "--walkingareas", "--tls.cycle.time", str(cycle)]
  plan.options += _LIGHTS


def suburb(plan: Plan, rng: np.random.Generator) -> None:
  """Winding residential streets, give way to the near side, around one collector road with priority."""
  columns, rows = int(rng.integers(5, 7)), int(rng.integers(4, 6))
  spacing = rng.uniform(85, 125)
  speed = rng.choice([8.33, 11.11])
  collector = int(rng.integers(1, rows - 1))
  near_side = "left_before_right" if plan.left_hand else "right_before_left"
  jitter = rng.uniform(-0.22, 0.22, (columns, rows, 2)) * spacing
  for i in range(columns):
    for j in range(rows):
      place = spacing * np.array([i, j]) + jitter[i, j]
      plan.node(f"x{i}y{j}", place, "priority" if j == collector else near_side)
  across = [(f"x{i}y{j}", f"x{i + 1}y{j}") for i in range(columns - 1) for j in range(rows)]
  along = [(f"x{i}y{j}", f"x{i}y{j + 1}") for i in range(columns) for j in range(rows - 1)]
  kept = _thinned(across + along, [pair for pair in across if pair[0].endswith(f"y{collector}")], 0.25, rng)
  for a, b in kept:
    main = a.endswith(f"y{collector}") and b.endswith(f"y{collector}")
    shape = bent(plan.nodes[a][0], plan.nodes[b][0], rng.uniform(-0.1, 0.1) * spacing)
    limit = 13.89 if main else speed
    plan.road(a, b, limit, 1, shape, priority=3 if main else 1, sidewalkWidth=1.8)
  rim = [
    f"x{i}y{j}" for i in range(columns) for j in range(rows) if i in (0, columns - 1) or j in (0, rows - 1)
  ]
  chosen = {f"x0y{collector}", f"x{columns - 1}y{collector}", *rng.choice(rim, 6, replace=False)}
  _gates(plan, [name for name in rim if name in chosen], rng.uniform(80, 130), 11.11, sidewalkWidth=1.8)
  plan.options += ["--crossings.guess", "--walkingareas"]


def ring_radial(plan: Plan, rng: np.random.Generator) -> None:
  """Ring roads crossed by radial roads, some crossings with lights; nothing in the middle."""
  arms, rings = int(rng.integers(5, 8)), int(rng.integers(2, 4))
  angles = np.arange(arms) * 2 * np.pi / arms + rng.uniform(-0.18, 0.18, arms) * 2 * np.pi / arms
  radii = rng.uniform(60, 90) + np.arange(rings) * rng.uniform(85, 130)
  speed, radial_lanes, centre = rng.choice([11.11, 13.89]), int(rng.integers(1, 3)), np.zeros(2)
  for r, radius in enumerate(radii):
    for a, angle in enumerate(angles):
      kind = "traffic_light" if rng.random() < 0.25 else "priority"
      plan.node(f"r{r}a{a}", radius * np.array([np.cos(angle), np.sin(angle)]), kind)
  for r, radius in enumerate(radii):
    for a, angle in enumerate(angles):
      following = angles[(a + 1) % arms] + (2 * np.pi if a + 1 == arms else 0)
      shape = arc(centre, radius, angle, following)
      plan.road(f"r{r}a{a}", f"r{r}a{(a + 1) % arms}", speed, 1, shape, priority=2 if r else 1)
  for a in range(arms):
    for r in range(rings - 1):
      plan.road(f"r{r}a{a}", f"r{r + 1}a{a}", speed, radial_lanes, priority=3)
  outer = [f"r{rings - 1}a{a}" for a in range(arms)]
  _gates(plan, outer, rng.uniform(100, 160), 16.67, lanes=radial_lanes, priority=3)
  plan.options += [*_LIGHTS, "--tls.cycle.time", str(int(rng.integers(28, 45)))]


def rural(plan: Plan, rng: np.random.Generator) -> None:
  """Long winding roads at 80 to 100 km/h, slower in the bends, with a few yielding side roads."""
  columns, rows = 3, 2
  spacing = rng.uniform(520, 760)
  for i in range(columns):
    for j in range(rows):
      plan.node(f"x{i}y{j}", spacing * (np.array([i, j]) + rng.uniform(-0.15, 0.15, 2)))
  across = [(f"x{i}y{j}", f"x{i + 1}y{j}") for i in range(columns - 1) for j in range(rows)]
  along = [(f"x{i}y0", f"x{i}y1") for i in range(columns)]
  for a, b in _thinned(across + along, [], 0.15, rng):
    main = (a, b) in across
    sway = rng.uniform(30, 75) * rng.choice([-1, 1])
    shape = bent(plan.nodes[a][0], plan.nodes[b][0], sway, int(rng.integers(1, 4)))
    plan.stretch(a, b, rng.choice([22.22, 27.78]), int(rng.integers(3, 6)), shape, priority=3 if main else 1)
  _gates(plan, [f"x{i}y{j}" for i in range(columns) for j in range(rows)], rng.uniform(280, 420), 25.0)


def roundabout(plan: Plan, rng: np.random.Generator) -> None:
  """A chain of roundabouts with three to five arms; who is on the ring goes first."""
  count, place, arrival = int(rng.integers(2, 4)), np.zeros(2), rng.uniform(-np.pi, np.pi)
  speed = rng.choice([11.11, 13.89, 16.67])
  previous = ""
  for k in range(count):
    arms = int(rng.integers(3, 6))
    angles = (
      arrival
      + np.pi
      + (np.arange(arms) + rng.uniform(-0.12, 0.12, arms) * (np.arange(arms) > 0)) * (2 * np.pi / arms)
    )
    forks = _ring(plan, f"k{k}", place, rng.uniform(16, 26), angles, speed)
    if previous:
      plan.road(previous, forks[0], speed)
    onward = arms // 2
    linked = ({0} if k else set()) | ({onward} if k + 1 < count else set())
    for fork in (fork for a, fork in enumerate(forks) if a not in linked):
      outward = plan.nodes[fork][0] - place
      far = plan.node(f"{fork}gate", place + outward * (1 + rng.uniform(110, 200) / np.hypot(*outward)))
      plan.road(fork, far, speed)
    arrival, previous = angles[onward], forks[onward]
    place = place + rng.uniform(230, 330) * np.array([np.cos(arrival), np.sin(arrival)])


def _ring(plan: Plan, name: str, centre, radius: float, angles, speed: float) -> list[str]:
  """One roundabout; returns the nodes where each arm forks into its entry and its exit."""
  way = -1.0 if plan.left_hand else 1.0  # counter-clockwise with traffic on the right
  half = min(0.32, 0.3 * 2 * np.pi / len(angles))
  places, forks = [], []
  for a, angle in enumerate(angles):
    for kind, turn in (("out", -way * half), ("in", way * half)):
      place = centre + radius * np.array([np.cos(angle + turn), np.sin(angle + turn)])
      places.append(((way * (angle + turn)) % (2 * np.pi), plan.node(f"{name}a{a}{kind}", place)))
    ahead = np.array([np.cos(angle), np.sin(angle)])
    forks.append(plan.node(f"{name}a{a}", centre + (radius + 32) * ahead))
  places.sort()
  edges = []
  for (start, node), (end, following) in zip(places, places[1:] + places[:1], strict=True):
    end += 2 * np.pi if end < start else 0
    shape = arc(centre, radius, way * start, way * end)
    edges.append(plan.edge(node, following, speed, 1, shape, priority=9, spreadType="center"))
  plan.rings.append(([node for _, node in places], edges))
  for a, fork in enumerate(forks):
    for kind, turn in (("in", 1.0), ("out", -1.0)):
      node = f"{name}a{a}{kind}"
      place, ahead = plan.nodes[node][0], plan.nodes[fork][0] - centre
      radial = (place - centre) / radius
      aside = way * turn * np.array([-ahead[1], ahead[0]]) / np.hypot(*ahead)
      outer = plan.nodes[fork][0] + 0.5 * plan.lane_width * aside
      along = way * turn * np.array([-radial[1], radial[0]])  # the way the ring leads on from an entry
      control = place + 14 * (0.75 * radial - 0.6 * along)
      shape = bezier(outer, control, place)
      if kind == "in":
        plan.edge(fork, node, min(speed, 9.0), 1, shape, priority=1, spreadType="center")
      else:
        plan.edge(node, fork, min(speed, 9.0), 1, shape[::-1], priority=1, spreadType="center")
  return forks


def _gates(plan: Plan, names: list[str], reach: float, speed: float, lanes: int = 1, **attributes) -> None:
  """Roads that lead from these nodes out of the world, away from its middle."""
  middle = np.mean([xy for xy, _ in plan.nodes.values()], axis=0)
  for name in names:
    here = plan.nodes[name][0]
    away = (here - middle) / max(float(np.hypot(*(here - middle))), 1.0)
    plan.road(name, plan.node(f"{name}gate", here + reach * away), speed, lanes, **attributes)


def _thinned(pairs, fixed, share: float, rng: np.random.Generator):
  """Leaves out up to `share` of the links, but none of `fixed`, and no node with fewer than two."""
  kept = list(pairs)
  for k in rng.permutation(len(pairs))[: int(share * len(pairs))]:
    pair = pairs[k]
    rest = [other for other in kept if other != pair]
    if pair not in fixed and all(sum(end in p for p in rest) > 1 for end in pair):
      kept = rest
  return kept
