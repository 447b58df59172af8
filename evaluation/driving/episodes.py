"""One simulated world driven by one driver: several vehicles are taken over at the same moment and driven for a while.

The same world without anybody taken over is the log: how far the vehicles' own drivers would have come, and what log
replay replays. An episode is one ego's drive; it ends with the horizon, at the end of its route, at its first contact
with anybody, or with a fault, and every ego that was taken over has exactly one.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from data import lanes, sumo
from data.ground import BIKE, JUNCTION, ROAD, Ground, paint_lanes
from data.sumo import SumoJob
from data.sumo_live import OPTIONS, STEP, LiveWorld, candidates
from evaluation.driving import bicycle
from evaluation.driving.contact import contacts, corners
from evaluation.driving.drivers import WATCHED, Driver, View
from evaluation.driving.guides import Guides, make_guides, path_of

HORIZON, ARRIVED, CONTACT, OFF_NETWORK, NOT_FINITE, VANISHED, LEAPT = (
  "horizon", "arrived", "contact", "off the network", "command not finite", "vanished from the world", "leapt",
)  # fmt: skip
FAULTS = (OFF_NETWORK, NOT_FINITE, VANISHED, LEAPT)  # no driving: the episode counts, with a score of zero

DRIVABLE = ROAD | JUNCTION | BIKE
_SHOULDER = 0.4  # m that a corner may reach over the edge of the lanes: paint and rounding
_LEAST_AHEAD = 120.0  # m of route that a vehicle must have left
_ARRIVAL = 10.0  # m before the end of the route
_LOST = 30.0  # m beside its route at which an ego is off the network
_LEAP = 8.0  # m in one step, which no car can do
_WATCHES = 3
_BORDER = 60.0  # m around the lanes that is painted


@dataclasses.dataclass(frozen=True)
class Drive:
  """What happened to E egos over T steps; steps after an episode's end are not `alive`.

  Attributes:
    domain, seed: of the world. driver: name. dt: s.
    pose_TxEx3, speed_TxE, alive_TxE: after each step; the first row is the start.
    arc_TxE, lateral_TxE: m along and beside the route. guides: the routes.
    off_road_TxE: bool, a corner is not on the road. ran_red_TxE: bool, passed a red light in this step.
    size_Ex2: m. end_E: why the episode ended. end_step_E: its last row.
    other_E: slot of the agent touched, -1 for none.
    box_TxNx5, present_TxN, slot_E: all agents as boxes (x, y, heading, length, width), and which slots the egos are.
    speed_TxN: m/s. type_N: AgentType of the slots at the end. faults: what the world itself did that no agent can.
  """

  domain: str
  seed: int
  driver: str
  dt: float
  pose_TxEx3: np.ndarray
  speed_TxE: np.ndarray
  alive_TxE: np.ndarray
  arc_TxE: np.ndarray
  lateral_TxE: np.ndarray
  guides: Guides
  off_road_TxE: np.ndarray
  ran_red_TxE: np.ndarray
  size_Ex2: np.ndarray
  end_E: list[str]
  end_step_E: np.ndarray
  other_E: np.ndarray
  box_TxNx5: np.ndarray
  present_TxN: np.ndarray
  speed_TxN: np.ndarray
  slot_E: np.ndarray
  faults: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Start:
  """A world at the moment the egos are taken over."""

  live: LiveWorld
  slot_E: np.ndarray
  ways: list[lanes.Path]
  ground: Ground


@contextlib.contextmanager
def started(job: SumoJob, egos: int, watch: Callable[[LiveWorld], None]) -> Iterator[Start]:
  """The world of a job after its warm-up, with up to `egos` vehicles chosen by the job's seed alone.

  `watch` is shown the traffic a few times before, every `WATCHED` s.
  """
  with sumo.running(job, STEP, **OPTIONS) as parts:
    live = LiveWorld(*parts)
    live.settle(sumo.WARM_UP - _WATCHES * WATCHED)
    for _ in range(_WATCHES):
      watch(live)
      live.settle(WATCHED)
    found = [(candidate, path_of(live, candidate)) for candidate in candidates(live)]
    found = [(candidate, way) for candidate, way in found if way.length > _LEAST_AHEAD]
    order = np.random.default_rng([job.seed, 3]).permutation(len(found))[:egos]
    xy = live.map.lanes.xy_Nx2
    ground = paint_lanes(live.map.lanes, xy.min(0) - _BORDER, xy.max(0) + _BORDER)
    slot_E = np.array([found[k][0].slot for k in order], np.int64)
    yield Start(live, slot_E, [found[k][1] for k in order], ground)


def log(start: Start, steps: int) -> tuple[np.ndarray, np.ndarray]:
  """Poses [T, E, 3] and speeds [T, E] of the chosen vehicles with their own drivers; who leaves stays where it was."""
  live, slot_E = start.live, start.slot_E
  serial_E = live.serial_N[slot_E]
  rows: list[tuple] = []
  for _ in range(steps):
    live.settle(STEP)
    there = live.present_N[slot_E] & (live.serial_N[slot_E] == serial_E)
    pose = np.concatenate([live.centre_Nx2[slot_E], live.heading_N[slot_E, None]], -1)
    if rows:
      pose = np.where(there[:, None], pose, rows[-1][0])
    rows.append((pose, np.where(there, live.speed_N[slot_E], 0.0)))
  pose, speed = (np.stack(values) for values in zip(*rows, strict=True))
  return pose, speed


def drive(start: Start, driver: Driver, name: str, job: SumoJob, steps: int) -> Drive:
  """Takes the chosen vehicles over and lets `driver` drive them for `steps` steps."""
  live, slot_E = start.live, start.slot_E
  serial_E = live.serial_N[slot_E]
  for slot in slot_E:
    live.take(int(slot))
  guides = make_guides(live, start.ways)
  pose = np.concatenate([live.centre_Nx2[slot_E], live.heading_N[slot_E, None]], -1)
  cars = bicycle.with_straight_wheels(pose, live.speed_N[slot_E], live.size_Nx2[slot_E, 0])
  size_Ex2, count = live.size_Nx2[slot_E].copy(), len(slot_E)
  arc, lateral = guides.locate(pose[:, :2], np.zeros(count))
  alive, end_E, end_step, other = (
    np.ones(count, bool),
    [HORIZON] * count,
    np.full(count, steps),
    np.full(count, -1),
  )
  rows = [_row(live, cars, alive, arc, lateral, np.zeros(count, bool), np.zeros(count, bool))]
  view = View(live, slot_E, cars, guides, arc, lateral, 0, job.friction)
  driver.begin(view)

  def finish(which_E: np.ndarray, why: str, step: int) -> None:
    for e in np.flatnonzero(which_E & alive):
      end_E[e], end_step[e], alive[e] = why, step, False
      if live.serial_N[slot_E[e]] == serial_E[e]:
        live.drop(int(slot_E[e]))

  for step in range(1, steps + 1):
    moved = driver.move(view)
    fine = np.isfinite(moved.pose_Ex3).all(-1) & np.isfinite(moved.speed_E)
    finish(~fine, NOT_FINITE, step - 1)
    leap = np.hypot(*(moved.pose_Ex3 - cars.pose_Ex3)[:, :2].T)
    finish(leap > _LEAP, LEAPT, step - 1)
    finish(_gone(live, slot_E, serial_E), VANISHED, step - 1)
    cars = _where(alive, moved, cars)
    live.advance(slot_E[alive], cars.pose_Ex3[alive], cars.speed_E[alive])
    finish(_gone(live, slot_E, serial_E), VANISHED, step - 1)
    before = arc
    arc, lateral = guides.locate(cars.pose_Ex3[:, :2], arc)
    own = np.concatenate([cars.pose_Ex3, size_Ex2], -1)
    off_road = (start.ground.at(corners(own, _SHOULDER)) & DRIVABLE == 0).any(-1)
    ran_red = _passed_red(guides, before, arc, 0.5 * size_Ex2[:, 0], live.signal_L())
    rows.append(_row(live, cars, alive, arc, lateral, off_road, ran_red))
    e, n = contacts(boxes(live), slot_E)
    touch = live.present_N[n] & alive[e]
    for one, slot in zip(e[touch][::-1], n[touch][::-1], strict=True):
      other[one] = slot
    finish(other >= 0, CONTACT, step)
    finish(np.abs(lateral) > _LOST, OFF_NETWORK, step)
    finish(arc > guides.length_E - _ARRIVAL, ARRIVED, step)
    if not alive.any():
      break
    view = View(live, slot_E, cars, guides, arc, lateral, step, job.friction)
  columns = [np.stack(values) for values in zip(*rows, strict=True)]
  pose, speed, alive_TxE, arc_TxE, lateral_TxE, off_TxE, red_TxE, box, present, speeds = columns
  end_step = np.minimum(end_step, len(pose) - 1)
  return Drive(
    job.domain, job.seed, name, STEP, pose, speed, alive_TxE, arc_TxE, lateral_TxE, guides, off_TxE, red_TxE,
    size_Ex2, end_E, end_step, other, box, present, speeds, slot_E, dict(live.faults),
  )  # fmt: skip


def boxes(live: LiveWorld) -> np.ndarray:
  """float64 [N, 5]: centre, heading, length, width of every slot; of empty ones far away, where they touch nobody."""
  centre = np.where(live.present_N[:, None], live.centre_Nx2, 1e7)
  return np.concatenate([centre, live.heading_N[:, None], live.size_Nx2], -1)


def _gone(live: LiveWorld, slot_E, serial_E) -> np.ndarray:
  """bool [E]: the simulation no longer has the vehicle."""
  return ~(live.present_N[slot_E] & (live.serial_N[slot_E] == serial_E))


def _row(live, cars, alive, arc, lateral, off_road, ran_red) -> tuple:
  box = boxes(live).astype(np.float32)
  kept = (cars.pose_Ex3, cars.speed_E, alive.copy(), arc, lateral, off_road, ran_red)
  return *kept, box, live.present_N.copy(), live.speed_N.astype(np.float32)


def _where(alive_E, moved, before):
  """The cars that drive on, moved; the others where they were."""
  values = {}
  for field in dataclasses.fields(moved):
    new, old = getattr(moved, field.name), getattr(before, field.name)
    values[field.name] = np.where(alive_E.reshape(-1, *[1] * (new.ndim - 1)), new, old)
  return type(moved)(**values)


def _passed_red(guides: Guides, before_E, after_E, reach_E, signal_L) -> np.ndarray:
  """bool [E]: the front passed a stop line whose light is red, between two steps."""
  passed = (guides.stop_ExQ > (before_E + reach_E)[:, None]) & (
    guides.stop_ExQ <= (after_E + reach_E)[:, None]
  )
  return (passed & guides.red(signal_L)).any(-1)
