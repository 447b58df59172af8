"""From what the simulation reports (front bumpers, lane names) to what a scene holds (boxes, headings).

A vehicle's rear axle follows its front like a trailer, so heading is a tractrix of the front point. SUMO's own
angle is the direction of the lane polyline and jumps at its corners.
"""

import numpy as np

from data.schema import AgentType, Signal

_WHEELBASE = 0.8  # of the length, front bumper to the pulled point


def headings(front_TxAx2: np.ndarray, valid_TxA: np.ndarray, first_A: np.ndarray, length_A: np.ndarray):
  """float64 [T, A] rad: heading of a rod pulled at its front, exact for straight motion between frames.

  With rod length b and a pull of d at angle phi to the rod, tan(phi / 2) decays by exp(-d / b).

  Args:
    front_TxAx2: m, front bumpers. valid_TxA: where they are known, one run per agent.
    first_A: rad, heading in the first valid frame. length_A: m.
  """
  heading = np.zeros(valid_TxA.shape)
  rod = _WHEELBASE * length_A
  now = first_A.astype(np.float64)
  for t in range(1, len(valid_TxA)):
    pulled = valid_TxA[t] & valid_TxA[t - 1]
    heading[t - 1] = now
    pull = np.where(pulled[:, None], front_TxAx2[t] - front_TxAx2[t - 1], 0.0)
    distance = np.hypot(pull[:, 0], pull[:, 1])
    course = np.arctan2(pull[:, 1], pull[:, 0])
    phi = (course - now + np.pi) % (2 * np.pi) - np.pi
    # A pull straight backwards never turns a rod; keep clear of the singularity.
    phi = np.clip(phi, -np.pi + 1e-3, np.pi - 1e-3)
    left = 2 * np.arctan(np.tan(phi / 2) * np.exp(-distance / rod))
    now = np.where(distance > 1e-6, course - left, now)
  heading[-1] = now
  return (heading + np.pi) % (2 * np.pi) - np.pi


def rare_events(scene_arrays: dict[str, np.ndarray], dt: float) -> tuple[str, ...]:
  """Tags computed from the tracks, in a fixed order.

  hard_brake: a vehicle brakes by more than 4.5 m/s^2 over one frame. red_light_stop: a vehicle stands on a lane
  whose light is red. near_miss: less than 1 s to collision with the vehicle ahead on the same lane.
  """
  valid, lane = scene_arrays["valid_TxA"], scene_arrays["lane_TxA"]
  driving = valid & (scene_arrays["type_A"] != AgentType.PEDESTRIAN)
  speed = np.hypot(*np.moveaxis(scene_arrays["velocity_TxAx2"], -1, 0))
  tags = []
  pair = driving[1:] & driving[:-1]
  if (np.diff(speed, axis=0)[pair] < -4.5 * dt).any():
    tags.append("hard_brake")
  colour = np.take_along_axis(scene_arrays["signal_TxL"], np.maximum(lane, 0), axis=1)
  if (driving & (lane >= 0) & (speed < 0.3) & (colour == Signal.RED)).any():
    tags.append("red_light_stop")
  if _closest_time(scene_arrays, driving & (lane >= 0), speed) < 1.0:
    tags.append("near_miss")
  return tuple(tags)


def _closest_time(values: dict[str, np.ndarray], on_lane_TxA: np.ndarray, speed_TxA: np.ndarray) -> float:
  """s: least time to collision between successive vehicles of a lane at constant speeds."""
  frame, agent = np.nonzero(on_lane_TxA)
  lane, arc = values["lane_TxA"][frame, agent], values["arc_TxA"][frame, agent]
  order = np.lexsort((arc, lane, frame))
  frame, agent, lane, arc = frame[order], agent[order], lane[order], arc[order]
  follows = (frame[1:] == frame[:-1]) & (lane[1:] == lane[:-1])
  gap = arc[1:] - values["size_Ax2"][agent[1:], 0] - arc[:-1]  # fronts are reported
  closing = speed_TxA[frame[:-1], agent[:-1]] - speed_TxA[frame[1:], agent[1:]]
  meeting = follows & (closing > 1.0)
  return float((np.maximum(gap, 0.0)[meeting] / closing[meeting]).min()) if meeting.any() else np.inf
