"""The plan of a road network: nodes and edges in plain metres (x east, y north), and the bends between them.

Speed limits are capped by curvature, so that a driver who keeps the limit keeps the lane.
"""

import dataclasses

import numpy as np

LATERAL = 2.2  # m/s^2 that speed limits allow in bends


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

  def stretch(self, a: str, b: str, speed: float, pieces: int, shape: np.ndarray, **attributes) -> None:
    """A two-way road of one lane each way, cut into pieces that each have the limit of their own bends."""
    cuts = np.linspace(0, len(shape) - 1, pieces + 1).round().astype(int)
    names = [a, *(self.node(f"{a}.{b}.{k}", shape[cut]) for k, cut in enumerate(cuts[1:-1])), b]
    for k in range(pieces):
      self.road(names[k], names[k + 1], speed, 1, shape[cuts[k] : cuts[k + 1] + 1], **attributes)


def speed_in_bend(shape: np.ndarray) -> float:
  """m/s at which the sharpest bend of a polyline costs `LATERAL`."""
  step = np.diff(shape, axis=0)
  length = np.hypot(*step.T)
  turn = np.abs(np.diff(np.unwrap(np.arctan2(step[:, 1], step[:, 0]))))
  if not len(turn):
    return np.inf
  curvature = (turn / (0.5 * (length[1:] + length[:-1]))).max()
  return float(np.sqrt(LATERAL / max(curvature, 1e-6)))


def bent(start: np.ndarray, end: np.ndarray, offset: float, waves: int = 1) -> np.ndarray:
  """[n, 2] from start to end, swaying `offset` m to the left `waves` times; straight at both ends."""
  length = float(np.hypot(*(end - start)))
  share = np.linspace(0, 1, max(int(length / 8), 4) + 1)
  ahead = (end - start) / length
  sway = offset * np.sin(np.pi * share * waves) * np.sin(np.pi * share)
  return start + share[:, None] * (end - start) + sway[:, None] * np.array([-ahead[1], ahead[0]])


def arc(centre: np.ndarray, radius: float, start: float, end: float) -> np.ndarray:
  """[n, 2] along a circle from angle `start` to angle `end` rad."""
  angle = np.linspace(start, end, max(int(abs(end - start) * radius / 4), 3) + 1)
  return centre + radius * np.stack([np.cos(angle), np.sin(angle)], -1)


def bezier(start: np.ndarray, control: np.ndarray, end: np.ndarray) -> np.ndarray:
  """[9, 2] of a quadratic Bezier curve."""
  u = np.linspace(0, 1, 9)[:, None]
  return (1 - u) ** 2 * start + 2 * u * (1 - u) * control + u**2 * end
