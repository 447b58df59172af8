"""One world after another with every driver: what a worker process does."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from data.errors import BadInput
from data.sumo import SumoJob
from evaluation.driving import episodes, film, pictures, scores
from evaluation.driving.drivers import ConstantVelocity, Driver, LogReplay
from evaluation.driving.idm import LaneKeepingIDM

POLICY, REPLAY = "policy", "log_replay"
FAILED = "failed"  # how the end of an episode begins that could not be driven
BASELINES = ("constant_velocity", "lane_keeping_idm", REPLAY)


@dataclasses.dataclass(frozen=True)
class Round:
  """A world and how it is driven. egos: vehicles taken over, where there are as many. steps: of 0.1 s.
  drivers: of BASELINES, or the name of a policy, ":" and the kind of its moves.
  pictures: directory for failures and films of the first driver, "" for none."""

  job: SumoJob
  egos: int
  steps: int
  drivers: tuple[str, ...]
  pictures: str = ""


_policies: dict[str, Any] = {}  # of this process, by name, so that they are sent to it once
_choose: dict[str, Any] = {}  # by driver, compiled once for all worlds


def use_policies(policies: Mapping[str, Any]) -> None:
  """Makes policies known to this process by their names, and lets it compute on one thread: the batches are small, and
  others wait."""
  os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
  _policies.clear()
  _policies.update(policies)
  _choose.clear()


def drive_world(task: Round) -> list[dict[str, Any]]:
  """The episodes of a world, driver by driver: one dict for each ego that the world has room for."""
  job = task.job
  with episodes.started(job, task.egos, lambda live: None) as start:
    asked = len(start.slot_E)
    if not asked:
      return []
    log = episodes.log(start, job, task.steps)
  human = scores.judge(log, task.steps + 1, None)
  found = []
  for name in task.drivers:
    try:
      driven = drive_once(task, name, log)
      judged = scores.judge(driven, task.steps + 1, human)
    except BadInput:
      raise
    except Exception as error:  # whatever a driver or the simulation meets, its episodes are not lost
      found += [_episode(job, name, e) | failed(f"{type(error).__name__}: {error}") for e in range(asked)]
      continue
    terms = scores.terms(driven, judged, human)
    if task.pictures and name == task.drivers[0]:
      draw(driven, judged, terms, pathlib.Path(task.pictures))
    for e, own in enumerate(terms):
      seconds = float(driven.end_step_E[e] * driven.dt)
      ended = {"end": driven.end_E[e], "seconds": seconds, "world_faults": driven.faults}
      ended["monitor"] = judged[e].monitor
      found.append(_episode(job, name, e) | own | ended)
  return found


def draw(
  driven: episodes.Drive, judged: list[scores.Judged], terms: list[dict], folder: pathlib.Path
) -> None:
  """A figure of every failure at the moment that made it one, and a film of the world's worst episode."""
  folder.mkdir(parents=True, exist_ok=True)
  for e, values in enumerate(terms):
    name = f"{driven.domain}-{driven.seed}-{e}"
    if values["score"] == 0:
      t, why = scores.failure(driven, e, judged[e])
      (folder / f"{name}.svg").write_text(pictures.moment(driven, e, t, why), encoding="utf-8")
  worst = min(range(len(terms)), key=lambda e: terms[e]["score"])
  page = film.film(driven, worst, judged[worst], terms[worst])
  (folder / f"{driven.domain}-{driven.seed}-{worst}.html").write_text(page, encoding="utf-8")


def drive_once(task: Round, name: str, log: episodes.Drive) -> episodes.Drive:
  """A fresh copy of the world, driven by one driver."""
  driver = make_driver(name, task.egos, log)
  with episodes.started(task.job, task.egos, driver.watch) as start:
    return episodes.drive(start, driver, name, task.job, task.steps)


def make_driver(name: str, egos: int, log: episodes.Drive) -> Driver:
  if name == REPLAY:
    return LogReplay(log.pose_TxEx3[1:], log.speed_TxE[1:])
  policy, _, moves = name.partition(":")
  if policy in _policies:
    from evaluation.driving.policy import MotionDriver, compiled

    if name not in _choose:
      _choose[name] = compiled(_policies[policy], moves)
    return MotionDriver(_policies[policy], _choose[name], egos)
  return {"constant_velocity": ConstantVelocity, "lane_keeping_idm": LaneKeepingIDM}[name]()


def failed(why: str) -> dict[str, Any]:
  """What is said of an episode that could not be driven: its score counts, as zero; of what it did nothing is known."""
  return dict.fromkeys(scores.TERMS) | {
    "score": 0.0,
    "end": f"{FAILED}: {why}",
    "seconds": 0.0,
    "world_faults": {},
    "monitor": {},
  }


def lost(task: Round, why: str) -> list[dict[str, Any]]:
  """The episodes of a world that no worker could finish: as many as were asked for."""
  return [_episode(task.job, name, e) | failed(why) for name in task.drivers for e in range(task.egos)]


def _episode(job: SumoJob, driver: str, ego: int) -> dict[str, Any]:
  scenario = {name: getattr(job, name) for name in ("domain", "seed", "weather", "light", "traffic_side")}
  return scenario | {"driver": driver, "ego": ego, "start_s": episodes.sumo.WARM_UP}
