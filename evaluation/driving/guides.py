"""Where the egos are to go: their routes as paths of points a metre apart, with limits and stop lines.

A guide is fixed when its episode starts. Drivers that need a path follow it; progress is measured along it.
"""

import dataclasses

import numpy as np

from data import context, lanes, paths
from data.schema import Signal
from data.sumo_live import Candidate, LiveWorld

SPACING = 1.0  # m
_LONGEST = 1200.0  # m
_STOPS = 16
_BACK, _AHEAD = 10, 40  # points around the last place within which the next one is looked for


@dataclasses.dataclass(frozen=True)
class Guides:
  """E paths, the shorter ones going on at their last point.

  Attributes:
    ways: the same as data.lanes holds them.
    xy_ExPx2: m. course_ExP: rad. limit_ExP: m/s. length_E: m. stop_ExQ: m to stop lines, context.FAR for none.
    light_ExQ: lanes whose signals they show, -1 for none.
  """

  ways: list[lanes.Path]
  xy_ExPx2: np.ndarray
  course_ExP: np.ndarray
  limit_ExP: np.ndarray
  length_E: np.ndarray
  stop_ExQ: np.ndarray
  light_ExQ: np.ndarray

  def locate(self, xy_Ex2: np.ndarray, arc_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Arc length and lateral offset (left positive) of positions, in m, near where they last were (arc_E)."""
    points = self.xy_ExPx2.shape[1]
    first = np.clip((arc_E / SPACING).astype(int) - _BACK, 0, points - 1)
    place = np.minimum(first[:, None] + np.arange(_BACK + _AHEAD)[None], points - 1)
    row = np.arange(len(place))
    apart = xy_Ex2[:, None] - self.xy_ExPx2[row[:, None], place]
    best = place[row, (apart**2).sum(-1).argmin(-1)]
    apart, course = xy_Ex2 - self.xy_ExPx2[row, best], self.course_ExP[row, best]
    cos, sin = np.cos(course), np.sin(course)
    ahead, left = cos * apart[:, 0] + sin * apart[:, 1], cos * apart[:, 1] - sin * apart[:, 0]
    return np.clip(best * SPACING + ahead, 0.0, self.length_E), left

  def at(self, arc_E: np.ndarray) -> np.ndarray:
    """float64 [E, 2] m: the points at arc lengths, held at the ends."""
    place = np.clip(arc_E, 0.0, self.length_E) / SPACING
    before = np.minimum(place.astype(int), self.xy_ExPx2.shape[1] - 2)
    share, row = (place - before)[:, None], np.arange(len(place))
    return (1 - share) * self.xy_ExPx2[row, before] + share * self.xy_ExPx2[row, before + 1]

  def closed(self, signal_L: np.ndarray) -> np.ndarray:
    """bool [E, Q]: stop lines whose light is yellow or red now."""
    return (self.light_ExQ >= 0) & np.isin(signal_L[self.light_ExQ], (Signal.YELLOW, Signal.RED))


def signalled(live: LiveWorld) -> np.ndarray:
  """bool [L]: lanes that have a light."""
  shown = np.zeros(len(live.map.lanes), bool)
  for link in live.map.links:
    shown[list(link.lanes)] = True
  return shown


def path_of(live: LiveWorld, candidate: Candidate) -> lanes.Path:
  """The whole way of a vehicle from where it is now."""
  place, kind = live.centre_Nx2[candidate.slot], live.type_N[candidate.slot]
  return lanes.follow(live.map.lanes, candidate.lane, place, candidate.route, _LONGEST, kind)


def make_guides(live: LiveWorld, ways: list[lanes.Path]) -> Guides:
  """Guides along `ways`."""
  points = 2 + max(int(way.length / SPACING) for way in ways)
  shown = signalled(live)
  xy, course, limit = (np.zeros((len(ways), points, *more)) for more in ((2,), (), ()))
  stop, light = np.full((len(ways), _STOPS), context.FAR), np.full((len(ways), _STOPS), -1)
  for e, way in enumerate(ways):
    planned = paths.sample(live.map.lanes, way, shown, int(way.length / SPACING) + 1, _STOPS)
    arcs = np.minimum(np.arange(points) * SPACING, way.length)
    xy[e] = way.at(arcs)
    step = way.at(np.minimum(arcs + 0.5, way.length)) - way.at(
      np.maximum(np.minimum(arcs, way.length - 0.5) - 0.5, 0)
    )
    course[e] = np.arctan2(step[:, 1], step[:, 0])
    on = way.lanes[np.searchsorted(way.starts, arcs, side="right") - 1]
    limit[e] = live.map.lanes.speed_limit_L[on]
    stop[e], light[e] = planned.stop_Q, planned.light_Q
  return Guides(ways, xy, course, limit, np.array([way.length for way in ways]), stop, light)
