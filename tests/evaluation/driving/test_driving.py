"""Egos in simulated traffic: the bicycle, contacts, what a policy sees, worlds that repeat, faults that are counted."""

import dataclasses
import os

import numpy as np
import pytest

from data import context, motion, sumo
from data.errors import BadInput
from data.lanes import Path
from data.windows import WindowConfig
from evaluation import closed_loop
from evaluation.driving import bicycle, contact, episodes, policy, rounds, scores, table
from evaluation.driving.tracks import look
from evaluation.driving.workers import DIED, FAILED, in_workers
from tests.data.test_context import world


def car(speed, heading=0.0, length=4.0):
  return bicycle.with_straight_wheels(np.array([[0.0, 0, heading]]), np.array([speed]), np.array([length]))


def test_straight_on_the_bicycle_is_uniform_acceleration():
  cars = car(10.0, heading=0.5)
  cars = dataclasses.replace(cars, acceleration_E=np.array([2.0]))
  for _ in range(20):
    cars = bicycle.drive(cars, np.array([2.0]), np.array([0.5]), 1.0, 0.1)
  np.testing.assert_allclose(cars.pose_Ex3[0], [24 * np.cos(0.5), 24 * np.sin(0.5), 0.5], rtol=1e-12)
  np.testing.assert_allclose(cars.speed_E, 14.0)


def test_the_course_that_is_asked_for_is_driven_and_held():
  cars = car(8.0)
  for _ in range(40):
    cars = bicycle.drive(cars, np.zeros(1), np.array([0.6]), 1.0, 0.1)
  np.testing.assert_allclose([bicycle.course(cars)[0], cars.pose_Ex3[0, 2]], 0.6, atol=0.02)


@pytest.mark.parametrize("friction", [0.2, 0.6, 1.0])
def test_tyres_bear_no_more_than_friction_allows(friction):
  grip, cars = friction * bicycle.GRAVITY, car(20.0)
  speeds, courses = [20.0], [0.0]
  for k in range(30):
    cars = bicycle.drive(cars, np.array([-9.0]), np.array([0.2 * (k + 1)]), friction, 0.1)
    speeds.append(cars.speed_E[0])
    courses.append(cars.pose_Ex3[0, 2])
  along, turning = np.diff(speeds) / 0.1, np.diff(courses) / 0.1 * speeds[:-1]
  # The wheels turn back at a finite rate, so a brake that comes late may exceed the circle for a step.
  assert along.min() >= -grip - 1e-9 and np.abs(turning).max() <= grip * 1.15
  stopped = car(3.0)
  for _ in range(60):
    stopped = bicycle.drive(stopped, np.array([-9.0]), np.zeros(1), friction, 0.1)
  assert stopped.speed_E[0] == 0.0 and np.isfinite(stopped.pose_Ex3).all()


def test_boxes_overlap_exactly_up_to_their_sides():
  one = np.array([[0.0, 0, 0.3, 4, 2]])
  for angle, side in ((0.0, 4.0), (0.5 * np.pi, 3.0)):  # lengthwise, and end to flank
    for shift, meets in ((-1e-6, True), (1e-6, False)):
      ahead = (side + shift) * np.array([np.cos(0.3), np.sin(0.3)])
      other = np.array([[*ahead, 0.3 + angle, 4, 2]])
      assert contact.overlaps(one, other)[0] == contact.overlaps(other, one)[0] == meets
  row = np.array([[0, 0, 0, 4, 2], [3.9, 0, 0, 4, 2], [9, 0, 0, 4, 2], [0, 1.9, 0, 4, 2]], float)
  assert [pair.tolist() for pair in contact.contacts(row, np.array([0, 2]), np.arange(4))] == [[0, 0], [1, 3]]


def test_what_one_agent_sees_is_its_row_of_what_all_see():
  state, around = world(count=10)
  valid = np.arange(10) != 4
  every = context.features(state, valid, around)
  views = {name: getattr(around, name)[..., :2, :] for name in ("limit", "junction", "stop", "signal")} | {
    "path": around.path[..., :2, :, :],
    "spacing": around.spacing[..., :2],
  }
  two = context.features(state, valid, around._replace(**views))
  np.testing.assert_array_equal(two, every[..., :2, :])
  assert np.array_equal(context.place(state) * valid[..., None], every[..., context.PLACE])


def test_a_stretch_of_a_path_is_that_path_further_on():
  points = np.array([[0, 0], [10, 0], [10, 5], [10, 30]], np.float32)
  way = Path(points, np.array([0.0, 10, 15, 40]), np.array([7, 8, 9]), np.array([0.0, 10, 15]))
  part = way.cut(12.0, 20.0)
  assert part.length == 20.0 and part.lanes.tolist() == [8, 9] and part.starts.tolist() == [0.0, 3.0]
  np.testing.assert_allclose(part.at(np.array([0.0, 3, 20])), way.at(np.array([12.0, 15, 32])))
  assert way.cut(0.0, 100.0).length == way.length and way.cut(39.5, 9.0).length == 0.5


@dataclasses.dataclass
class Still:
  """As much of a live world as is looked at."""

  centre_Nx2: np.ndarray
  heading_N: np.ndarray
  speed_N: np.ndarray
  present_N: np.ndarray
  serial_N: np.ndarray


def test_tracks_of_a_live_world_are_the_encoder_one_move_at_a_time():
  rng = np.random.default_rng(0)
  steps, agents, dt = 12, 5, 0.5
  speed = np.maximum(8 + rng.normal(0, 1, (steps, agents)).cumsum(0), 0)
  heading = rng.normal(0, 0.1, (steps, agents)).cumsum(0)
  velocity = speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
  position = (velocity * dt).cumsum(0)
  valid = np.ones((steps, agents), bool)
  valid[4, 1] = valid[:6, 2] = False
  moves = motion.encode(position, heading, velocity, valid, dt)
  last = None
  for t in range(steps):
    last = look(Still(position[t], heading[t], speed[t], valid[t], np.arange(agents)), last, dt)
    np.testing.assert_allclose(last.state_NxS[valid[t]], moves.state_TxAxS[t, valid[t]], rtol=1e-5, atol=1e-5)
    if t:
      np.testing.assert_array_equal(last.moved_N, moves.mask_TxA[t - 1])
      known = last.moved_N
      np.testing.assert_array_equal(last.move_N[known], moves.tokens_TxA[t - 1, known])


@pytest.mark.parametrize("rates", [(0.7, 0.0), (0.0, -0.3)])
def test_a_move_that_is_driven_is_seen_as_that_move(task, rates):
  """What the policy's car does in half a second is, to the encoder, the token that was asked for."""
  seen = []

  def choose(memory, now, draw):
    seen.append((now["last_move"], draw))
    return memory, *(np.full(4, rate) for rate in rates)

  window = WindowConfig(dt=0.5, steps=16, agents=8, points=16, stops=2, phases=1, least_moves=4)
  driver = policy.MotionDriver(policy.Policy(None, None, window, None, 0), choose, 4)
  with episodes.started(task.job, 4, driver.watch) as start:
    episodes.drive(start, driver, "stub", task.job, 16)
  moves = motion.split(np.array([moves for moves, _ in seen]))
  for found, rate in zip(moves, rates, strict=True):
    np.testing.assert_allclose(found[2:, 0], rate, atol=1e-6)
  assert [draw.tolist() for _, draw in seen] == [[task.job.seed % 2**32, step] for step in (0, 5, 10, 15)]


def square(k):
  if k == 2:
    os._exit(9)  # what the kernel does to a process that takes too much memory
  if k == 4:
    raise ValueError("four")
  return k * k


def refuse(k):
  raise BadInput("no such thing", f"argument {k}", "leave it out")


def test_a_worker_that_dies_takes_nobody_with_it():
  found = {k: (value, why) for k, value, why in in_workers(square, range(6), 2)}
  assert found == {
    0: (0, ""), 1: (1, ""), 2: (None, DIED), 3: (9, ""), 4: (None, f"{FAILED}: ValueError: four"), 5: (25, ""),
  }  # fmt: skip
  with pytest.raises(BadInput, match="argument 0"):
    list(in_workers(refuse, [0], 1))


def test_same_world_same_score_with_any_number_of_workers(task):
  other = dataclasses.replace(task, job=sumo.plan(1001, 1, 1, 0.1, 0.1, ("apron",))[0])
  one = [rounds.drive_world(each) for each in (task, other, task)]
  two = {k: rows for k, rows, _ in in_workers(rounds.drive_world, [task, other], 2)}
  assert [two[0], two[1]] == one[:2] and one[0] == one[2] != one[1]
  assert [row["driver"] for row in one[0]] == [name for name in task.drivers for _ in range(4)]
  replayed = [row for row in one[0] + one[1] if row["driver"] == "log_replay"]
  assert all(row["monitor"]["r157"]["episodes"] == 1 for row in one[0])
  assert all(row["progress"] > 0.99 and row["no_at_fault_collision"] == 1 for row in replayed)


def test_the_report_puts_the_worst_first_and_counts_what_ended_how():
  found = []
  for seed, domain, own, baseline in (
    (1, "rural", 0.9, 0.5),
    (2, "rural", 0.7, 0.5),
    *((seed, "apron", 0.2, 0.4) for seed in (3, 4, 5)),
  ):
    for driver, score in (("policy:expected", own), ("idm", baseline)):
      for ego in range(8):
        row = dict.fromkeys(scores.TERMS, 1.0)
        row |= {"traffic_light": None, "score": score - 0.01 * (ego == 3)}
        row |= {
          "domain": domain,
          "seed": seed,
          "driver": driver,
          "ego": ego,
          "end": "horizon",
          "weather": "fog",
        }
        found.append(row | {"light": "day", "traffic_side": "left", "world_faults": {"a vehicle leapt": 1}})
  counts = {
    name: 0
    for name in ("frames", "demanded", "ignored", "unprompted", "danger", "contacts", "foreseen", "hits")
  }
  for row in found:
    taken = int(row["driver"] == "idm" and row["ego"] == 0)
    one = counts | {
      "episodes": 1,
      "episodes_taken_over": taken,
      "takes_over": taken,
      "false_alarms": taken,
      "misses": 1,
    }
    row["monitor"] = {"rss": one}
  found[0] |= rounds.failed("worker died")
  result = closed_loop.report(found, ("policy:expected", "idm"))
  assert result["ends"] == {"failed": 1, "horizon": 39} and result["episodes"] == 40 and result["worlds"] == 5
  assert result["score"] == pytest.approx((8 * (0.9 + 0.7 + 3 * 0.2) - 0.9 - 0.05) / 40)
  # Worlds are the units, not episodes. Of two, t is 12.7 and the standard error half of what is between them.
  means = np.array([7 * 0.9 / 8, 0.7]) - 0.01 / 8  # of an episode that failed, nothing is left
  low, high = result["by_domain"]["rural"]["ci95"]
  reach = 12.706 * abs(means[1] - means[0]) / 2
  assert [low, high] == pytest.approx([means.mean() - reach, min(means.mean() + reach, 1)], abs=1e-3)
  assert result["policy_less"]["idm"]["rural"] == pytest.approx(
    [means.mean() - 0.49875 - reach, means.mean() - 0.49875 + reach], abs=1e-3
  )
  assert result["policy_less"]["idm"]["apron"] == pytest.approx([-0.2, -0.2])
  assert table.summary([row for row in found if row["seed"] == 1])["ci95"] is None, "one world"
  # Overall, domains are strata: what is between them is no error. 5 worlds have 3 degrees of freedom, t is 3.18.
  spread = 16 / 40 * abs(means[1] - means[0]) / 2
  assert np.diff(result["ci95"]) == pytest.approx(2 * 3.182 * spread, abs=1e-3)
  # Two rural worlds are too few; weather, light and side of the road divide nothing, and are listed once.
  assert [row["slice"] for row in result["worst_slices"]] == ["domain=apron", "traffic_side=left"]
  assert (
    result["red_light_rate"] is None and result["collision_rate"] == 0
  )  # of what was not driven nothing is known
  assert table.world_faults(found) == {
    "a vehicle leapt": 10
  }  # by five worlds and two drivers, not by episode
  assert closed_loop.films(found, "policy:expected")[0] == "apron-3-3.html"
  beside = result["baselines"]["idm"]["monitor"]["rss"]
  assert beside["takes_over"] == 5 / 40 and beside["takes_over_ci95"] == [0.125, 0.125] and beside["hit"] == 0
  assert result["monitor"]["rss"]["counts"]["episodes"] == 39, "what was not driven was not watched"
  assert "r157" not in result["monitor"]
  shown = closed_loop.table(result | {"episodes_asked": 50, "world_faults": {}})
  assert "40 of 50 episodes had a vehicle" in shown and "no faults" in shown
  assert "0.12 0/40 5" in shown


def test_an_ego_that_is_alone_drives_the_same_though_only_who_is_near_is_read_out(task, monkeypatch):
  alone = dataclasses.replace(task, egos=1)
  monkeypatch.setattr(episodes, "_REACH", 90.0)
  near = rounds.drive_once(alone, "lane_keeping_idm", None)
  monkeypatch.setattr(episodes.LiveWorld, "attend", lambda *_: None)
  whole = rounds.drive_once(alone, "lane_keeping_idm", None)
  np.testing.assert_allclose(near.pose_TxEx3, whole.pose_TxEx3, atol=1e-6)
  some_T, all_T = ((drive.serial_TxN[1:] >= 0).sum(1) for drive in (near, whole))
  assert (some_T < all_T).all() and (near.serial_TxN[1:] == near.serial_E[0]).any(1).all()
