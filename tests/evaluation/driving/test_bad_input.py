"""Bad input in closed loop: named, counted and survived, and no episode dropped."""

import dataclasses

import numpy as np
import pytest

from data import sumo
from evaluation import closed_loop
from evaluation.driving import episodes, rounds, scores, table, workers
from evaluation.driving.drivers import ConstantVelocity
from evaluation.driving.workers import DIED, FAILED


class Swerving(ConstantVelocity):
  """Asks for what is no number for the first ego, leaps with the second, loses the third; the route of the last leads
  off the network; somebody else leaps, too."""

  def move(self, view):
    cars = super().move(view)
    if view.step == 3:
      cars.pose_Ex3[0] = np.nan
      cars.pose_Ex3[1, :2] += 20.0
    live = view.live
    if view.step == 2:
      other = next(slot for slot in np.flatnonzero(live.present_N & ~live.taken_N).tolist())
      x, y = live.centre_Nx2[other]
      live.sim.vehicle.moveToXY(live.name_of(other), "", -1, x + 30, y, 0, 2)
    if view.step == 5:
      live.drop(int(view.slot_E[2]))
    if view.step == 6:
      view.guides.xy_ExPx2[4] += 60.0
    return cars


class Clueless(ConstantVelocity):
  def command(self, view):
    raise RuntimeError("which way?")


def test_faults_are_named_and_counted(task, monkeypatch):
  made = {"swerving": Swerving, "clueless": Clueless}
  monkeypatch.setattr(rounds, "make_driver", lambda name, *_: made[name]())
  rows = rounds.drive_world(dataclasses.replace(task, egos=5, drivers=tuple(made)))
  assert [row["end"] for row in rows[:3]] == [episodes.NOT_FINITE, episodes.LEAPT, episodes.VANISHED]
  assert [row["seconds"] for row in rows[:3]] == pytest.approx([0.3, 0.3, 0.5])
  assert rows[3]["end"] not in episodes.FAULTS and rows[3]["score"] > 0
  assert rows[4]["end"] == episodes.OFF_NETWORK and rows[4]["seconds"] == pytest.approx(0.7)
  assert [row["score"] for row in (*rows[:3], rows[4])] == [0, 0, 0, 0]
  assert table.world_faults(rows) == {"a vehicle leapt": 1, "no position": 1}  # and is lost then
  assert {row["end"] for row in rows[5:]} == {"failed: RuntimeError: which way?"} and len(rows) == 10
  assert all(row[name] is None or np.isfinite(row[name]) for row in rows for name in scores.TERMS)
  gone = rounds.lost(task, DIED)
  assert len(gone) == 12 and {row["end"] for row in gone} == {f"failed: {DIED}"}


class Killed(BaseException):
  """What the process in which it is raised does not survive."""


def one_by_one(function, arguments, *_):
  """`in_workers` in this process; that a real process may die is another test's."""
  for k, argument in enumerate(arguments):
    try:
      yield k, function(argument), ""
    except Killed:
      yield k, None, DIED
    except Exception as error:
      yield k, None, f"{FAILED}: {type(error).__name__}: {error}"


def test_no_episode_is_dropped_when_a_worker_is_killed_or_a_world_has_no_map(task, monkeypatch):
  real = rounds.drive_world

  def drive_world(one):
    if "deadly" in one.drivers:
      raise Killed
    return (
      real(one) if one.job.domain == "apron" else [row | {"end": "horizon"} for row in rounds.lost(one, "")]
    )

  def mapless(*_):
    raise RuntimeError("netconvert failed")

  monkeypatch.setattr(rounds, "drive_world", drive_world)
  monkeypatch.setattr(workers, "in_workers", one_by_one)
  monkeypatch.setattr(sumo.sumo_networks, "build", mapless)
  apron = dataclasses.replace(
    task, job=dataclasses.replace(task.job, domain="apron", seed=9), drivers=("steady",)
  )
  kept = []
  rows = closed_loop.drive_all(
    [dataclasses.replace(task, drivers=("deadly", "steady")), apron], None, 1, kept.extend
  )
  assert [(row["domain"], row["driver"], row["end"]) for row in rows] == [
    *[("roundabout", "deadly", f"failed: {DIED}")] * 4,
    *[("roundabout", "steady", "horizon")] * 4,
    *[("apron", "steady", f"failed: {FAILED}: RuntimeError: netconvert failed")] * 4,
  ]
  result = closed_loop.report(rows, ("steady", "deadly"))
  assert result["ends"] == {"failed": 4, "horizon": 4} and result["baselines"]["deadly"]["ends"] == {
    "failed": 4
  }
