"""One world after another with every driver: what a worker process does."""

import dataclasses
from typing import Any

from data.errors import BadInput
from data.sumo import SumoJob
from evaluation.driving import episodes, scores
from evaluation.driving.drivers import ConstantVelocity, Driver, LogReplay
from evaluation.driving.idm import LaneKeepingIDM

POLICY, REPLAY = "policy", "log_replay"
BASELINES = ("constant_velocity", "lane_keeping_idm", REPLAY)


@dataclasses.dataclass(frozen=True)
class Round:
  """A world and how it is driven. egos: vehicles taken over, where there are as many. steps: of 0.1 s."""

  job: SumoJob
  egos: int
  steps: int
  drivers: tuple[str, ...]


_policy: Any = None  # of this process, so that it is sent to it once
_choose: Any = None  # compiled once for all worlds


def use_policy(policy: Any) -> None:
  """Makes a policy known to this process."""
  global _policy, _choose
  _policy, _choose = policy, None


def drive_world(task: Round) -> list[dict[str, Any]]:
  """The episodes of a world, driver by driver: one dict for each ego, or one for all of them where a driver failed."""
  job = task.job
  with episodes.started(job, task.egos, lambda live: None) as start:
    asked = len(start.slot_E)
    pose, speed = episodes.log(start, task.steps)
  found = []
  for name in task.drivers if asked else ():
    try:
      driven = drive_once(task, name, pose, speed)
    except BadInput:
      raise
    except Exception as error:  # whatever a driver or the simulation meets, its episodes are not lost
      found += [_episode(job, name, e) | failed(f"{type(error).__name__}: {error}") for e in range(asked)]
      continue
    found += judged(task, driven, pose)
  return found


def drive_once(task: Round, name: str, log_pose_TxEx3, log_speed_TxE) -> episodes.Drive:
  """A fresh copy of the world, driven by one driver."""
  driver = make_driver(name, task.egos, log_pose_TxEx3, log_speed_TxE)
  with episodes.started(task.job, task.egos, driver.watch) as start:
    return episodes.drive(start, driver, name, task.job, task.steps)


def make_driver(name: str, egos: int, log_pose_TxEx3, log_speed_TxE) -> Driver:
  if name == REPLAY:
    return LogReplay(log_pose_TxEx3, log_speed_TxE)
  if name == POLICY:
    from evaluation.driving.policy import MotionDriver, compiled

    global _choose
    _choose = _choose or compiled(_policy)
    return MotionDriver(_policy, _choose, egos)
  return {"constant_velocity": ConstantVelocity, "lane_keeping_idm": LaneKeepingIDM}[name]()


def judged(task: Round, driven: episodes.Drive, log_pose_TxEx3) -> list[dict[str, Any]]:
  """One dict per ego: the scenario, how it ended, every term of the score."""
  arc = driven.arc_TxE[0]
  for pose in log_pose_TxEx3:
    arc, _ = driven.guides.locate(pose[:, :2], arc)
  terms = scores.score(driven, arc)
  rows = []
  for e, why in enumerate(driven.end_E):
    own = {name: float(values[e]) for name, values in terms.items()}
    seconds = float(driven.end_step_E[e] * driven.dt)
    rows.append(_episode(task.job, driven.driver, e) | own | {"end": why, "seconds": seconds})
  return rows


def failed(why: str) -> dict[str, Any]:
  """What is said of an episode that could not be driven: it counts, with nothing achieved."""
  return {name: 0.0 for name in scores.TERMS} | {"end": f"failed: {why}", "seconds": 0.0}


def lost(task: Round, why: str) -> list[dict[str, Any]]:
  """The episodes of a world that no worker could finish: as many as were asked for."""
  return [_episode(task.job, name, e) | failed(why) for name in task.drivers for e in range(task.egos)]


def _episode(job: SumoJob, driver: str, ego: int) -> dict[str, Any]:
  scenario = {name: getattr(job, name) for name in ("domain", "seed", "weather", "light", "traffic_side")}
  return scenario | {"driver": driver, "ego": ego, "start_s": episodes.sumo.WARM_UP}
