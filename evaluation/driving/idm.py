"""Lane keeping by the Intelligent Driver Model along the planned route, with leaders, limits and red lights.

  v' = a (1 - (v / v0)^4 - (s* / s)^2)        s* = s0 + v T + v dv / (2 sqrt(a b))

M. Treiber, A. Hennecke, D. Helbing, "Congested traffic states in empirical observations and microscopic simulations",
Physical Review E 62, 2000. v0 is the highest speed from which every limit ahead can be kept at deceleration b; a
light that is not green and can still be heeded is a leader that stands. The course leads to a point of the route some
way ahead.
"""

import numpy as np

from data.sumo_live import LiveWorld
from evaluation.driving.drivers import Driver, View
from evaluation.driving.guides import SPACING

_ACCELERATION, _COMFORT = 1.5, 2.0  # m/s^2: a, b
_HEADWAY, _STANDSTILL = 1.4, 2.0  # s, m: T, s0
_RANGE = 80  # m ahead
_BRAKE = 6.0  # m/s^2 at most
_HEEDED = 3.5  # m/s^2 of braking up to which a light that turns is heeded
_ASIDE = 0.3  # m between two boxes that pass
_PREVIEW = 0.7, 4.0  # s and at least m to the point that is steered to


class LaneKeepingIDM(Driver):
  """The baseline that a trained policy is measured against."""

  def command(self, view: View) -> tuple[np.ndarray, np.ndarray]:
    speed, guides, row = view.cars.speed_E, view.guides, np.arange(len(view.slot_E))
    ahead = np.arange(_RANGE)[None]
    place = np.minimum((view.arc_E / SPACING).astype(int)[:, None] + ahead, guides.xy_ExPx2.shape[1] - 1)
    limit = guides.limit_ExP[row[:, None], place]
    wanted = np.sqrt(limit**2 + 2 * _COMFORT * SPACING * ahead).min(-1)
    gap, lead = _leaders(view, guides.xy_ExPx2[row[:, None], place], guides.course_ExP[row[:, None], place])
    to_line = guides.stop_ExQ - view.arc_E[:, None] - 0.5 * view.cars.length_E[:, None]
    heeded = speed[:, None] ** 2 < 2 * _HEEDED * np.maximum(to_line, 1e-3)
    stopping = guides.closed(view.live.signal_L()) & (to_line > 0) & heeded
    line = np.where(stopping, to_line, np.inf).min(-1)
    room = np.minimum(_follow(speed, gap, lead), _follow(speed, line, np.zeros_like(speed)))
    free = 1 - (speed / np.maximum(wanted, 0.1)) ** 4
    acceleration = np.clip(_ACCELERATION * (free + room), -_BRAKE, _ACCELERATION)
    target = guides.at(view.arc_E + np.maximum(_PREVIEW[0] * speed, _PREVIEW[1])) - view.cars.pose_Ex3[:, :2]
    return acceleration, np.arctan2(target[:, 1], target[:, 0])


def _follow(speed_E, gap_E, lead_E) -> np.ndarray:
  """-(s* / s)^2, zero without a leader (an infinite gap)."""
  closing = speed_E - lead_E
  wish = _STANDSTILL + np.maximum(
    speed_E * _HEADWAY + speed_E * closing / (2 * np.sqrt(_ACCELERATION * _COMFORT)), 0.0
  )
  return -((wish / np.maximum(gap_E, 0.1)) ** 2)


def _leaders(view: View, xy_ExKx2, course_ExK) -> tuple[np.ndarray, np.ndarray]:
  """Free road [E] m to the nearest agent on the way ahead (inf: none), and that agent's speed along it, m/s."""
  live: LiveWorld = view.live
  other = np.flatnonzero(live.present_N)
  apart = live.centre_Nx2[other][None, :, None] - xy_ExKx2[:, None]
  squared = (apart**2).sum(-1)
  nearest = squared.argmin(-1)  # [E, M]
  row = np.arange(len(xy_ExKx2))[:, None]
  course = course_ExK[row, nearest]
  turn = live.heading_N[other][None] - course
  length, width = live.size_Nx2[other].T
  along = 0.5 * (length * np.abs(np.cos(turn)) + width * np.abs(np.sin(turn)))
  across = 0.5 * (width * np.abs(np.cos(turn)) + length * np.abs(np.sin(turn)))
  own_width = live.size_Nx2[view.slot_E, 1]
  beside = (
    squared[row, np.arange(len(other))[None], nearest] > (0.5 * own_width[:, None] + across + _ASIDE) ** 2
  )
  gap = nearest * SPACING - 0.5 * view.cars.length_E[:, None] - along
  gap = np.where(beside | (nearest == 0) | (other[None] == view.slot_E[:, None]), np.inf, gap)
  lead = gap.argmin(-1)
  row = np.arange(len(lead))
  return gap[row, lead], (live.speed_N[other][None] * np.cos(turn))[row, lead]
