"""The score of an episode, in the form of PDM-Score: what must not happen times a weighted mean of what is wanted.

  score = no_collision * on_road * lights * (5 ttc + 5 progress + 2 comfort) / 12

after D. Dauner et al., "NAVSIM", NeurIPS 2024, arXiv:2406.15349. A contact counts unless the ego stood still or was hit
from behind. A fault (`episodes.FAULTS`) makes the score zero.
"""

import numpy as np

from evaluation.driving.contact import overlaps
from evaluation.driving.episodes import CONTACT, FAULTS, Drive

TERMS = ("score", "no_collision", "on_road", "lights", "ttc", "progress", "comfort")
_WEIGHTS = {"ttc": 5.0, "progress": 5.0, "comfort": 2.0}
_STILL = 0.1  # m/s
_LOOK = (0.3, 0.6, 0.9)  # s that everybody is projected ahead
_LEAST_PROGRESS = 5.0  # m of the log's, below which progress is not asked for
_ACCELERATION, _LATERAL, _JERK = (-4.05, 2.40), 4.89, 8.37  # m/s^2, m/s^2, m/s^3
_WINDOW = 5  # steps over which accelerations are averaged


def score(drive: Drive, log_arc_E: np.ndarray) -> dict[str, np.ndarray]:
  """float64 [E] of every term; log_arc_E: m that the log came along the route."""
  fault = np.array([end in FAULTS for end in drive.end_E])
  rows = np.arange(len(drive.pose_TxEx3))[:, None] <= drive.end_step_E[None]
  start, end = drive.arc_TxE[0], drive.arc_TxE[drive.end_step_E, np.arange(len(fault))]
  far = np.maximum(log_arc_E - start, 0.0)
  terms: dict[str, np.ndarray] = {
    "no_collision": 1.0 - at_fault(drive),
    "on_road": _never(drive.off_road_TxE & rows),
    "lights": _never(drive.ran_red_TxE & rows),
    "ttc": _never(_too_near(drive) & rows),
    "progress": np.where(far > _LEAST_PROGRESS, np.clip((end - start) / np.maximum(far, 1e-3), 0, 1), 1.0),
    "comfort": comfort(drive),
  }
  wanted = np.average([terms[name] for name in _WEIGHTS], axis=0, weights=list(_WEIGHTS.values()))
  terms["score"] = np.where(fault, 0.0, terms["no_collision"] * terms["on_road"] * terms["lights"] * wanted)
  return terms


def _never(found_TxE: np.ndarray) -> np.ndarray:
  """float64 [E]: 1 where it is never so."""
  return 1.0 - np.asarray(found_TxE.any(0), np.float64)


def at_fault(drive: Drive) -> np.ndarray:
  """bool [E]: ended in a contact that the ego could have avoided."""
  found = np.zeros(len(drive.end_E), bool)
  for e, why in enumerate(drive.end_E):
    if why == CONTACT:
      t, slot = drive.end_step_E[e], drive.other_E[e]
      pose, speed = drive.pose_TxEx3[t, e], drive.speed_TxE[t, e]
      apart = drive.box_TxNx5[t, slot, :2] - pose[:2]
      ahead = apart[0] * np.cos(pose[2]) + apart[1] * np.sin(pose[2])
      faster = drive.speed_TxN[t, slot] > speed
      found[e] = speed > _STILL and not (ahead < -0.25 * drive.size_Ex2[e, 0] and faster)
  return found


def comfort(drive: Drive) -> np.ndarray:
  """float64 [E]: 1 where averaged accelerations and jerk stay within nuPlan's limits."""
  if len(drive.speed_TxE) < 2 * _WINDOW:
    return np.ones(len(drive.end_E))
  kernel = np.ones(_WINDOW) / _WINDOW
  yaw = np.unwrap(drive.pose_TxEx3[..., 2], axis=0)
  found = []
  for e, last in enumerate(drive.end_step_E):
    if last < 2 * _WINDOW:
      found.append(1.0)
      continue
    speed = drive.speed_TxE[: last + 1, e]
    along = np.convolve(np.diff(speed) / drive.dt, kernel, "valid")
    turning = np.convolve(np.diff(yaw[: last + 1, e]) / drive.dt * speed[1:], kernel, "valid")
    jerk = np.diff(along) / drive.dt
    fine = (along > _ACCELERATION[0]).all() and (along < _ACCELERATION[1]).all()
    found.append(float(fine and (np.abs(turning) < _LATERAL).all() and (np.abs(jerk) < _JERK).all()))
  return np.array(found)


def _too_near(drive: Drive) -> np.ndarray:
  """bool [T, E]: the ego's box ahead of it, at constant velocities, meets somebody who is in front of it."""
  steps, egos = drive.speed_TxE.shape
  found = np.zeros((steps, egos), bool)
  moving = (drive.speed_TxE > _STILL) & drive.alive_TxE
  for t in range(0, steps, 2):
    own = np.concatenate([drive.pose_TxEx3[t], drive.size_Ex2], -1)
    box, there = drive.box_TxNx5[t].astype(np.float64), np.flatnonzero(drive.present_TxN[t])
    apart = box[None, there, :2] - own[:, None, :2]
    ahead = apart[..., 0] * np.cos(own[:, 2, None]) + apart[..., 1] * np.sin(own[:, 2, None])
    near = (ahead > 0) & (np.hypot(apart[..., 0], apart[..., 1]) < 40) & moving[t][:, None]
    near &= there[None] != drive.slot_E[:, None]
    e, k = np.nonzero(near)
    n = there[k]
    for look in _LOOK:
      one, two = own[e].copy(), box[n].copy()
      for projected, speed in ((one, drive.speed_TxE[t, e]), (two, drive.speed_TxN[t, n])):
        heading = projected[:, 2]
        projected[:, :2] += look * speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
      found[t, e[overlaps(one, two)]] = True
  return found
