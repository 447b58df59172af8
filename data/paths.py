"""The planned path of an agent as fixed-shape arrays: points at equal spacing, limits, junctions, stop lines."""

import dataclasses

import numpy as np

from data import context
from data.lanes import Path
from data.schema import Lanes, LaneType


@dataclasses.dataclass(frozen=True)
class PlannedPath:
  """Attributes:
  xy_Px2: float64 m. spacing: m between points. limit_P: m/s. junction_P: bool, inside a junction.
  stop_Q: m, arc lengths of signalled stop lines in driving order, context.FAR for none.
  light_Q: the lanes whose signals they show, -1 for none.
  """

  xy_Px2: np.ndarray
  spacing: float
  limit_P: np.ndarray
  junction_P: np.ndarray
  stop_Q: np.ndarray
  light_Q: np.ndarray


def none(points: int, stops: int) -> PlannedPath:
  """What stands for no path: its spacing is zero."""
  empty = np.zeros(points)
  return PlannedPath(
    np.zeros((points, 2)), 0.0, empty, empty > 0, np.full(stops, context.FAR), np.full(stops, -1)
  )


def sample(lanes: Lanes, path: Path, signalled_L: np.ndarray, points: int, stops: int) -> PlannedPath:
  """`points` points of a path and its first `stops` stop lines; signalled_L: lanes that have a signal."""
  arcs = np.linspace(0, path.length, points)
  on = path.lanes[np.searchsorted(path.starts, arcs, side="right") - 1]
  stop_Q, light_Q = np.full(stops, context.FAR), np.full(stops, -1)
  kept = 0
  signalled_K = signalled_L[path.lanes]
  for k in np.flatnonzero(signalled_K):
    # A turning path carries its own signal, shown at its entry; it replaces that of the lane before.
    turning = lanes.type_L[path.lanes[k]] == LaneType.JUNCTION
    if not turning and k + 1 < len(path.lanes) and signalled_K[k + 1]:
      continue
    end = path.starts[k] if turning else (path.starts[k + 1] if k + 1 < len(path.starts) else path.length)
    if kept < stops:
      stop_Q[kept], light_Q[kept] = end, path.lanes[k]
      kept += 1
  junction_P = lanes.type_L[on] == LaneType.JUNCTION
  return PlannedPath(path.at(arcs), float(arcs[1]), lanes.speed_limit_L[on], junction_P, stop_Q, light_Q)
