"""From what the simulation reports (front bumpers on centrelines) to what a scene holds (boxes, headings).

SUMO changes lanes in one step, and its angle jumps then and at the corners of the lane polyline. Here a lane
change is drawn out over seconds, and a vehicle's rear follows its front like a trailer, so that heading is a
tractrix of the front point.
"""

import numpy as np

from data.schema import AgentType, Lanes, Signal

WHEELBASE = 0.75  # of the length, front bumper to the pulled point
_CHANGE_TIME = 3.0  # s a lane change takes at least
_CHANGE_SLOPE = 1.5  # m driven per metre of lateral shift, at least: nobody slides sideways in a queue


def lane_courses(lanes: Lanes, lane_N: np.ndarray, arc_N: np.ndarray) -> np.ndarray:
  """float64 [N] rad: direction of lane `lane_N` at `arc_N` m from its start."""
  xy = lanes.xy_Nx2.astype(np.float64)
  step = np.diff(xy, axis=0)
  arcs = np.concatenate([[0.0], np.hypot(*step.T).cumsum()])
  first = lanes.splits[:-1]
  place = np.searchsorted(arcs, arcs[first[lane_N]] + arc_N, side="right") - 1
  place = np.clip(place, first[lane_N], lanes.splits[1:][lane_N] - 2)
  return np.arctan2(step[place, 1], step[place, 0])


def smooth_lane_changes(
  front_TxAx2: np.ndarray,
  course_TxA: np.ndarray,
  lane_TxA: np.ndarray,
  lanes: Lanes,
  dt: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Fronts [T, A, 2] m and occupied lanes int32 [T, A] with lane changes drawn out, starting when SUMO's do.

  The lateral jump d decays as d (1 - m(u)), m(u) = 10 u^3 - 15 u^4 + 6 u^5 (least jerk), u the lesser of the
  shares of time and of distance. The old lane counts as occupied up to half way, while on the same road.

  Args:
    front_TxAx2: m. course_TxA: rad, direction of the lane. lane_TxA: -1 where unknown or not a vehicle.
  """
  front, lane = front_TxAx2.astype(np.float64), lane_TxA.copy()
  road_TxA = np.where(lane_TxA >= 0, lanes.road_L[lane_TxA], -1)
  normal = np.stack([-np.sin(course_TxA), np.cos(course_TxA)], -1)
  onward = _onward(lanes)
  before, after = lane_TxA[:-1], lane_TxA[1:]
  for t, a in np.argwhere((before != after) & (before >= 0) & (after >= 0)):
    old, t = int(lane_TxA[t, a]), t + 1
    if int(lane_TxA[t, a]) in onward[old]:
      continue
    # The chord of a steady bend points along the mean course; what is left over is the change of lane.
    mean = normal[t - 1, a] + normal[t, a]
    jump = float((front_TxAx2[t, a] - front_TxAx2[t - 1, a]) @ mean / np.hypot(*mean))
    gone = np.flatnonzero(lane_TxA[t:, a] < 0)
    until = t + int(gone[0]) if len(gone) else len(front)
    step = np.hypot(*np.diff(front_TxAx2[t - 1 : until, a], axis=0).T)
    step[0] = np.sqrt(max(step[0] ** 2 - jump**2, 0.0))
    done = changed(np.arange(1, until - t + 1) * dt, step.cumsum(), jump)
    front[t:until, a] -= (jump * (1 - done))[:, None] * normal[t:until, a]
    early = (done < 0.5) & (road_TxA[t:until, a] == road_TxA[t - 1, a])
    lane[t:until, a] = np.where(np.logical_and.accumulate(early), lane[t - 1, a], lane[t:until, a])
  return front, lane


def changed(seconds, driven, jump) -> np.ndarray:
  """m(u) above of a change of lane by `jump` m that began `seconds` s and `driven` m ago."""
  share = np.minimum(seconds / _CHANGE_TIME, driven / (_CHANGE_SLOPE * np.maximum(np.abs(jump), 0.1)))
  share = np.clip(share, 0, 1)
  return share**3 * (10 - 15 * share + 6 * share**2)


def _onward(lanes: Lanes, hops: int = 6) -> list[set[int]]:
  """For every lane, those that are reached from it without changing lanes."""
  following: list[set[int]] = [set() for _ in range(len(lanes))]
  for start, end in lanes.successor_Ex2.tolist():
    following[start].add(end)
  reached = [set(f) for f in following]
  for _ in range(hops - 1):
    reached = [set(f).union(*(reached[n] for n in f)) for f in following]
  return reached


def headings(front_TxAx2: np.ndarray, valid_TxA: np.ndarray, first_A: np.ndarray, length_A: np.ndarray):
  """float64 [T, A] rad: heading of a rod pulled at its front, exact for straight motion between frames.

  With rod length b and a pull of d at angle phi to the rod, tan(phi / 2) decays by exp(-d / b).

  Args:
    front_TxAx2: m, front bumpers. valid_TxA: where they are known, one run per agent.
    first_A: rad, heading in the first valid frame. length_A: m.
  """
  heading = np.zeros(valid_TxA.shape)
  rod = WHEELBASE * length_A
  now = first_A.astype(np.float64)
  for t in range(1, len(valid_TxA)):
    pulled = valid_TxA[t] & valid_TxA[t - 1]
    heading[t - 1] = now
    pull = np.where(pulled[:, None], front_TxAx2[t] - front_TxAx2[t - 1], 0.0)
    now = pulled_heading(now, pull, rod)
  heading[-1] = now
  return (heading + np.pi) % (2 * np.pi) - np.pi


def pulled_heading(heading_A: np.ndarray, pull_Ax2: np.ndarray, rod_A: np.ndarray) -> np.ndarray:
  """float64 [A] rad: heading of rods of `rod_A` m after their fronts were pulled by `pull_Ax2` m."""
  distance = np.hypot(pull_Ax2[:, 0], pull_Ax2[:, 1])
  course = np.arctan2(pull_Ax2[:, 1], pull_Ax2[:, 0])
  phi = (course - heading_A + np.pi) % (2 * np.pi) - np.pi
  # A pull straight backwards never turns a rod; keep clear of the singularity.
  phi = np.clip(phi, -np.pi + 1e-3, np.pi - 1e-3)
  left = 2 * np.arctan(np.tan(phi / 2) * np.exp(-distance / rod_A))
  return np.where(distance > 1e-6, course - left, heading_A)


def rare_events(tracks: dict[str, np.ndarray], arc_TxA: np.ndarray, dt: float) -> tuple[str, ...]:
  """Tags computed from the tracks, in a fixed order.

  hard_brake: a vehicle brakes by more than 4.5 m/s^2 over one frame. red_light_stop: a vehicle stands on a
  lane whose light is red. near_miss: less than 1 s to collision with the vehicle ahead on the same lane.
  """
  valid, lane = tracks["valid_TxA"], tracks["lane_TxA"]
  driving = valid & (tracks["type_A"] != AgentType.PEDESTRIAN)
  speed = np.hypot(*np.moveaxis(tracks["velocity_TxAx2"], -1, 0))
  tags = []
  pair = driving[1:] & driving[:-1]
  if (np.diff(speed, axis=0)[pair] < -4.5 * dt).any():
    tags.append("hard_brake")
  colour = np.take_along_axis(tracks["signal_TxL"], np.maximum(lane, 0), axis=1)
  if (driving & (lane >= 0) & (speed < 0.3) & (colour == Signal.RED)).any():
    tags.append("red_light_stop")
  if _closest_time(tracks, arc_TxA, driving & (lane >= 0), speed) < 1.0:
    tags.append("near_miss")
  return tuple(tags)


def _closest_time(
  tracks: dict[str, np.ndarray], arc_TxA, on_lane_TxA: np.ndarray, speed_TxA: np.ndarray
) -> float:
  """s: least time to collision between successive vehicles of a lane at constant speeds."""
  frame, agent = np.nonzero(on_lane_TxA)
  lane, arc = tracks["lane_TxA"][frame, agent], arc_TxA[frame, agent]
  order = np.lexsort((arc, lane, frame))
  frame, agent, lane, arc = frame[order], agent[order], lane[order], arc[order]
  follows = (frame[1:] == frame[:-1]) & (lane[1:] == lane[:-1])
  gap = arc[1:] - tracks["size_Ax2"][agent[1:], 0] - arc[:-1]  # fronts are reported
  closing = speed_TxA[frame[:-1], agent[:-1]] - speed_TxA[frame[1:], agent[1:]]
  meeting = follows & (closing > 1.0)
  return float((np.maximum(gap, 0.0)[meeting] / closing[meeting]).min()) if meeting.any() else np.inf
