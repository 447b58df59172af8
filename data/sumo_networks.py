"""Road networks drawn from a seed: one builder per domain, turned into SUMO nets by `netconvert`.

A builder lays out nodes and edges; `netconvert` adds lanes, junctions, turning paths and light programs.
"""

import importlib.util
import pathlib
import subprocess
from collections.abc import Callable
from xml.sax.saxutils import quoteattr

import numpy as np

from data import sumo_apron, sumo_highway, sumo_streets
from data.errors import BadInput
from data.sumo_plan import LATERAL, Plan

_ENV = "run `make env`, which installs the extra `sim`"

BUILDERS: dict[str, Callable[[Plan, np.random.Generator], None]] = {
  "urban_grid": sumo_streets.urban_grid,
  "suburb": sumo_streets.suburb,
  "ring_radial": sumo_streets.ring_radial,
  "rural": sumo_streets.rural,
  "highway": sumo_highway.highway,
  "roundabout": sumo_streets.roundabout,
  "apron": sumo_apron.apron,
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
  arguments += ["--junctions.limit-turn-speed", str(LATERAL), "--junctions.internal-link-detail", "10"]
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
