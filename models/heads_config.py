"""The heads of a driving model: which there are and how large, counted without importing JAX."""

import dataclasses

from models.reading_config import ReadConfig, linear_params
from models.sensors_config import GridConfig

CELL_HEADS = ("segmentation", "occupancy", "detection")  # asked at every patch of the grid
AGENT_HEADS = ("forecasting", "tracking")  # asked at every box
EGO_HEADS = ("plan", "actions")  # asked once a step
HEADS = (*CELL_HEADS, "elements", *AGENT_HEADS, *EGO_HEADS)
BOX_NUMBERS = 8  # that describe a box, in and out


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
      "tracking": 2 * width + 3,
      "plan": self.mixture,
      "actions": self.futures * self.moves,
    }
    return {name: every[name] for name in self.names}

  @property
  def queries(self) -> dict[str, int]:
    """Kind of query to how many there are in a step; agents look up what their cell has read."""
    kinds = {"agents": self.boxes, "elements": self.elements, "ego": 1}
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
    return "elements" if name == "elements" else "agents" if name in AGENT_HEADS else "ego"

  def param_count(self) -> int:
    width = self.read.width
    read = len(self.queries) * self.read.param_count()
    answers = sum(linear_params(width, n) for n in self.outputs.values())
    box = linear_params(BOX_NUMBERS + self.box_classes, width) if "agents" in self.queries else 0
    ego = linear_params(len(self.ego_scales), width) if "ego" in self.queries else 0
    learned_queries = sum(n * width for kind, n in self.queries.items() if kind != "agents")
    return read + answers + box + ego + learned_queries + ("tracking" in self.names) + self.learned

  def flops_per_step(self, tokens: int) -> int:
    """Forward, for a step of so many tokens: 2 per multiply-add."""
    width, total = self.read.width, 0
    for n in self.queries.values():
      total += self.read.flops(n, tokens)
    for name, n in self.outputs.items():
      total += self.queries[self.kind(name)] * 2 * width * n
    if "agents" in self.queries:
      total += self.boxes * 2 * width * (BOX_NUMBERS + self.box_classes)
    if "ego" in self.queries:
      total += 2 * width * len(self.ego_scales)
    return total + (2 * width * self.boxes**2 if "tracking" in self.names else 0)
