"""Road networks drawn from a seed, one builder per domain, turned into SUMO nets by `netconvert`.

A builder lays out nodes and edges as a town planner would (plain metres, x east, y north); `netconvert` adds
lanes, junctions, turning paths and light programs. Speed limits are capped by curvature, on edges here and on
turning paths by `--junctions.limit-turn-speed`, so that a driver who keeps the limit keeps the lane.
"""

import dataclasses
import importlib.util
import itertools
import pathlib
import subprocess
from collections.abc import Callable
from xml.sax.saxutils import quoteattr

import numpy as np

from data.errors import BadInput

_LATERAL = 2.2  # m/s^2 that speed limits allow in bends
_ENV = "run `make env`, which installs the extra `sim`"


@dataclasses.dataclass
class Plan:
  """Nodes and edges of a network under construction, for traffic on either side."""

  left_hand: bool
  lane_width: float
  nodes: dict[str, tuple[np.ndarray, str]] = dataclasses.field(default_factory=dict)
  edges: list[tuple[dict[str, str], np.ndarray]] = dataclasses.field(default_factory=list)
  connections: list[dict[str, str]] = dataclasses.field(default_factory=list)
  rings: list[tuple[list[str], list[str]]] = dataclasses.field(default_factory=list)
  options: list[str] = dataclasses.field(default_factory=list)

  def node(self, name: str, xy, kind: str = "priority") -> str:
    self.nodes[name] = (np.asarray(xy, float), kind)
    return name

  def edge(self, start: str, end: str, speed: float, lanes: int = 1, shape=None, **attributes) -> str:
    """A carriageway; `shape` [n, 2] runs from node to node, straight if absent. Speed in m/s."""
    if shape is None:
      shape = np.stack([self.nodes[start][0], self.nodes[end][0]])
    name = f"{start}-{end}"
    limit = max(min(speed, speed_in_bend(shape)), 3.0)
    values = {"id": name, "from": start, "to": end, "numLanes": str(lanes), "speed": f"{limit:.2f}"}
    self.edges.append((values | {k: str(v) for k, v in attributes.items()}, shape))
    return name

  def road(self, a: str, b: str, speed: float, lanes: int = 1, shape=None, **attributes) -> None:
    """Both carriageways of a two-way road."""
    self.edge(a, b, speed, lanes, shape, **attributes)
    self.edge(b, a, speed, lanes, None if shape is None else shape[::-1], **attributes)


def speed_in_bend(shape: np.ndarray) -> float:
  """m/s at which the sharpest bend of a polyline costs `_LATERAL`."""
  step = np.diff(shape, axis=0)
  length = np.hypot(*step.T)
  turn = np.abs(np.diff(np.unwrap(np.arctan2(step[:, 1], step[:, 0]))))
  if not len(turn):
    return np.inf
  curvature = (turn / (0.5 * (length[1:] + length[:-1]))).max()
  return float(np.sqrt(_LATERAL / max(curvature, 1e-6)))


def bent(start: np.ndarray, end: np.ndarray, offset: float, waves: int = 1) -> np.ndarray:
  """[n, 2] from start to end, swaying `offset` m to the left `waves` times; straight at both ends."""
  length = float(np.hypot(*(end - start)))
  share = np.linspace(0, 1, max(int(length / 8), 4) + 1)
  ahead = (end - start) / length
  sway = offset * np.sin(np.pi * share * waves) * np.sin(np.pi * share)
  return start + share[:, None] * (end - start) + sway[:, None] * np.array([-ahead[1], ahead[0]])


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
  plan.options += ["--tls.left-green.time", "0", "--tls.yellow.time", "3"]


def highway(plan: Plan, rng: np.random.Generator) -> None:
  """Two swaying carriageways with exits and entries over auxiliary lanes."""
  lanes = int(rng.integers(2, 5))
  speed = rng.choice([25.0, 27.78, 33.33])
  length, amplitude = rng.uniform(1800, 2600), rng.uniform(20, 90)
  wave, phase = rng.uniform(1500, 3000), rng.uniform(0, 2 * np.pi)
  median = rng.uniform(4, 14)
  exits = rng.uniform(0.25, 0.35), rng.uniform(0.6, 0.7)
  places = np.array([0, exits[0] - 0.09, exits[0], exits[0] + 0.1, exits[0] + 0.2, exits[1], 1.0]) * length
  kinds = ["main", "leave", "main", "join", "main", "main"]

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
  edge = {k: f"{name}{k}-{name}{k + 1}" for k in range(6)}

  def connect(start, end, first, second, count):
    for k in range(count):
      values = {"from": start, "to": end, "fromLane": first + k, "toLane": second + k}
      plan.connections.append({key: str(value) for key, value in values.items()})

  for node, leaving in (2, True), (3, False):
    here = float(plan.nodes[f"{name}{node}"][0][0])
    along = np.linspace(0, 1, 25)
    s = here + way * (1 if leaving else -1) * rng.uniform(180, 260) * along
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
  connect(edge[0], edge[1], 0, 0, 1)
  connect(edge[1], edge[2], 1, 0, lanes)
  connect(edge[2], edge[3], 0, 1, lanes)
  connect(edge[3], edge[4], 1, 0, lanes)


BUILDERS: dict[str, Callable[[Plan, np.random.Generator], None]] = {
  "urban_grid": urban_grid,
  "highway": highway,
}


def build(domain: str, rng: np.random.Generator, left_hand: bool, friction: float, folder: pathlib.Path):
  """Path of a new `net.xml` in `folder`; its bytes depend on the arguments before it only.

  Raises BadInput when `netconvert` is not installed.
  """
  plan = Plan(left_hand, float(rng.uniform(3.1, 3.6)))
  BUILDERS[domain](plan, rng)
  return convert(plan, folder, ["--default.friction", f"{friction:.3f}"])


def convert(plan: Plan, folder: pathlib.Path, options: list[str]) -> pathlib.Path:
  """Runs `netconvert` on a plan."""
  nodes = [
    f'<node id="{name}" x="{xy[0]:.2f}" y="{xy[1]:.2f}" type="{kind}"/>'
    for name, (xy, kind) in plan.nodes.items()
  ]
  edges = []
  for values, shape in plan.edges:
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape)
    edges.append(f"<edge {_attributes(values)} shape={quoteattr(points)}/>")
  for ring_nodes, ring_edges in plan.rings:
    edges.append(f'<roundabout nodes="{" ".join(ring_nodes)}" edges="{" ".join(ring_edges)}"/>')
  connections = [f"<connection {_attributes(values)}/>" for values in plan.connections]
  arguments = [netconvert(), "--no-turnarounds", "--xml-validation", "never", "--no-warnings"]
  for name, rows in (("node", nodes), ("edge", edges), ("connection", connections)):
    path = folder / f"plan.{name}.xml"
    path.write_text(f"<{name}s>\n" + "\n".join(rows) + f"\n</{name}s>\n", encoding="utf-8")
    arguments += [f"--{name}-files", str(path)]
  net = folder / "net.xml"
  arguments += ["--junctions.limit-turn-speed", str(_LATERAL), "--junctions.internal-link-detail", "10"]
  arguments += [
    "--default.lanewidth",
    f"{plan.lane_width:.2f}",
    "--output-file",
    str(net),
    *plan.options,
    *options,
  ]
  if plan.left_hand:
    arguments.append("--lefthand")
  done = subprocess.run(arguments, capture_output=True, text=True, check=False)
  if done.returncode:
    raise RuntimeError(f"netconvert failed on a {len(plan.edges)}-edge plan: {done.stderr.strip()[:500]}")
  return net


def netconvert() -> str:
  """Path of the program in the installed wheel (its Python launcher costs a second interpreter)."""
  spec = importlib.util.find_spec("sumo")
  folders = spec.submodule_search_locations if spec else None
  for folder in folders or []:
    program = pathlib.Path(folder) / "bin" / "netconvert"
    if program.exists():
      return str(program)
  raise BadInput("netconvert (eclipse-sumo) is not installed", "source sumo", _ENV)


def _attributes(values: dict[str, str]) -> str:
  return " ".join(f"{name}={quoteattr(value)}" for name, value in values.items())
