"""The heads of a driving model: which there are and how large, counted without importing JAX."""

import dataclasses

from models.reading_config import ReadConfig, linear_params
from models.sensors_config import GridConfig

CELL_HEADS = ("segmentation", "occupancy", "detection")  # asked at every patch of the grid
AGENT_HEADS = ("forecasting", "forecast_spread", "tracking")  # asked at every box
BOXED = ("tracks", "agents")  # the queries of these
PLACED = ("cells", *BOXED)  # queries that are somewhere
EGO_HEADS = ("plan", "plan_spread", "actions")  # asked once a step
JUDGED = {"plan_spread": "plan", "forecast_spread": "forecasting"}  # heads that say how far to trust another
HEADS = (*CELL_HEADS, "elements", *AGENT_HEADS, *EGO_HEADS)
BOX_NUMBERS = 8  # that describe a box, in and out
MOVED_NUMBERS = 3  # velocity, and whether it is known


@dataclasses.dataclass(frozen=True)
class HeadsConfig:
  """Attributes:
  names: of HEADS, those that there are. read: how they look at the trunk's tokens.
  grid: the cells that are answered for; a patch is one query.
  ego_scales: for each entry of the ego state, what is large for it, in its unit.
  cell_classes, box_classes, element_classes: numbers of classes.
  boxes: agent slots, for counting FLOPs. ahead: J, later steps of occupancy.
  elements, element_points: polylines answered, and points of each.
  modes, futures: trajectories of a mixture, and their points, step_seconds apart. moves: V of the motion tokens.
  learned: weights of tasks that are learned with the model (objectives/multi_task.py); 0: none.
  """

  names: tuple[str, ...]
  read: ReadConfig
  grid: GridConfig
  ego_scales: tuple[float, ...]
  cell_classes: int
  box_classes: int
  element_classes: int
  boxes: int
  ahead: int
  elements: int
  element_points: int
  modes: int
  futures: int
  step_seconds: float
  moves: int
  learned: int

  def __post_init__(self):
    unknown = [name for name in self.names if name not in HEADS]
    if unknown or not self.names:
      raise ValueError(f"heads are {', '.join(self.names) or 'none'}; choose of {', '.join(HEADS)}")
    for judge, judged in JUDGED.items():
      if judge in self.names and judged not in self.names:
        raise ValueError(f"{judge} says how far to trust {judged}, which is not there")

  @property
  def mixture(self) -> int:
    """Numbers of a mixture of trajectories: mean and scale of x and y of each point, and a logit."""
    return self.modes * (4 * self.futures + 1)

  @property
  def outputs(self) -> dict[str, int]:
    """Numbers that each head answers to a query."""
    cells, width = self.grid.patch**2, self.read.width
    every = {
      "segmentation": cells * self.cell_classes,
      "occupancy": cells * self.ahead * self.cell_classes,
      "detection": cells * (self.box_classes + BOX_NUMBERS),
      "elements": 2 * self.element_points + self.element_classes + 1,
      "forecasting": self.mixture,
      "forecast_spread": self.futures,
      "tracking": 2 * width + 3,
      "plan": self.mixture,
      "plan_spread": self.futures,
      "actions": self.futures * self.moves,
    }
    return {name: every[name] for name in self.names}

  @property
  def queries(self) -> dict[str, int]:
    """Kind of query to how many there are in a step; agents look up what their cell has read."""
    kinds = dict.fromkeys(BOXED, self.boxes) | {"elements": self.elements, "ego": 1}
    asked = {name: kinds[self.kind(name)] for name in self.names if self.kind(name) != "cells"}
    found = {self.kind(name): count for name, count in asked.items()}
    if any(name in CELL_HEADS + AGENT_HEADS for name in self.names):
      found["cells"] = self.grid.places
    return found

  @staticmethod
  def kind(name: str) -> str:
    """The kind of query that a head answers to."""
    if name in CELL_HEADS:
      return "cells"
    kinds = {
      "elements": "elements",
      "forecasting": "tracks",
      "forecast_spread": "tracks",
      "tracking": "agents",
    }
    return kinds.get(name, "ego")

  @property
  def stems(self) -> dict[str, int]:
    """Kind of query to the numbers that it is made of."""
    box = BOX_NUMBERS + self.box_classes
    numbers = {"tracks": box + MOVED_NUMBERS, "agents": box, "ego": len(self.ego_scales)}
    return {kind: n for kind, n in numbers.items() if kind in self.queries}

  def param_count(self) -> int:
    width = self.read.width
    read = len(self.queries) * self.read.param_count()
    answers = sum(linear_params(width, n) for n in self.outputs.values())
    stems = sum(linear_params(n, width) for n in self.stems.values())
    reaches = self.read.heads * sum(kind in PLACED for kind in self.queries)
    learned_queries = sum(n * width for kind, n in self.queries.items() if kind not in BOXED)
    return read + answers + stems + reaches + learned_queries + ("tracking" in self.names) + self.learned

  def flops(self, tokens: int, steps: int) -> int:
    """Forward, for a clip of so many steps of so many tokens: 2 per multiply-add. No step follows the last one."""
    width, a_step = self.read.width, 0
    for n in self.queries.values():
      a_step += self.read.flops(n, tokens)
    for name, n in self.outputs.items():
      if name not in JUDGED:  # those are stems
        a_step += self.queries[self.kind(name)] * 2 * width * n
    a_step += self.stem_flops()
    pairs = 2 * width * self.boxes**2 if "tracking" in self.names else 0
    return steps * a_step + (steps - 1) * pairs

  def stem_flops(self) -> int:
    """Forward, of a step: products that read numbers, or what a judge reads without changing it."""
    read = [(kind, n) for kind, n in self.stems.items()]
    read += [(self.kind(name), self.outputs[name]) for name in JUDGED if name in self.names]
    return sum(self.queries[kind] * 2 * self.read.width * n for kind, n in read)
