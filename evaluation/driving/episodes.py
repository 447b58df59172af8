"""One simulated world driven by one driver: several vehicles are taken over at the same moment and driven for a while.

The same world without anybody taken over is the log: how far the vehicles' own drivers would have come, and what log
replay replays. An episode is one ego's drive; it ends with the horizon, at the end of its route, at its first contact
with anybody, or with a fault, and every ego that was taken over has exactly one.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from data import sumo
from data.lanes import Path
from data.schema import Lanes
from data.sumo import SumoJob
from data.sumo_live import STEP, LiveWorld, candidates
from evaluation.driving import bicycle
from evaluation.driving.contact import contacts
from evaluation.driving.drivers import WATCHED, Driver, View
from evaluation.driving.guides import Guides, make_guides, path_of

HORIZON, ARRIVED, CONTACT, OFF_NETWORK, NOT_FINITE, VANISHED, LEAPT = (
  "horizon", "arrived", "contact", "off the network", "command not finite", "vanished from the world", "leapt",
)  # fmt: skip
FAULTS = (OFF_NETWORK, NOT_FINITE, VANISHED, LEAPT)  # no driving: the episode counts, with a score of zero

_LEAST_AHEAD = 120.0  # m of route that a vehicle must have left
_ARRIVAL = 10.0  # m before the end of the route
_LOST = 30.0  # m beside its route at which an ego is off the network
_LEAP = 8.0  # m in one step, which no car can do
_WATCHES = 3
_REACH = 150.0  # m around an ego that is alone in which others are read out: more than it can meet in 5 s


@dataclasses.dataclass(frozen=True)
class Drive:
  """What happened to E egos over T steps; steps after an episode's end are not `alive`.

  Attributes:
    domain, seed: of the world. driver: name. dt: s.
    pose_TxEx3, speed_TxE, alive_TxE: after each step; the first row is the start.
    arc_TxE, lateral_TxE: m along and beside the route. guides: the routes.
    size_Ex2: m. end_E: why the episode ended. end_step_E: its last row. other_E: the agent touched, -1 for none.
    lanes: the map. signal_TxL: Signal.
    box_TxNx5, speed_TxN: everybody as boxes (x, y, heading, length, width) and in m/s, by slots of the world.
    serial_TxN: which agent is in a slot, -1 for none. serial_E: which the egos are.
    faults: what the world itself did that no agent can.
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
  size_Ex2: np.ndarray
  end_E: list[str]
  end_step_E: np.ndarray
  other_E: np.ndarray
  lanes: Lanes
  signal_TxL: np.ndarray
  box_TxNx5: np.ndarray
  speed_TxN: np.ndarray
  serial_TxN: np.ndarray
  serial_E: np.ndarray
  faults: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Start:
  """A world at the moment the egos are taken over."""

  live: LiveWorld
  slot_E: np.ndarray
  ways: list[Path]


@contextlib.contextmanager
def started(job: SumoJob, egos: int, watch: Callable[[LiveWorld], None]) -> Iterator[Start]:
  """The world of a job after its warm-up, with up to `egos` vehicles chosen by the job's seed alone.

  `watch` is shown the traffic a few times before, every `WATCHED` s.
  """
  with sumo.running(job, STEP) as parts:
    live = LiveWorld(*parts)
    live.settle(sumo.WARM_UP - _WATCHES * WATCHED)
    for _ in range(_WATCHES):
      watch(live)
      live.settle(WATCHED)
    found = [(candidate, path_of(live, candidate)) for candidate in candidates(live)]
    found = [(candidate, way) for candidate, way in found if way.length > _LEAST_AHEAD]
    order = np.random.default_rng([job.seed, 3]).permutation(len(found))[:egos]
    slot_E = np.array([found[k][0].slot for k in order], np.int64)
    yield Start(live, slot_E, [found[k][1] for k in order])


class _Record:
  """Rows of a Drive as they come."""

  def __init__(self, start: Start):
    self.live, self.slot_E = start.live, start.slot_E
    self.serial_E, self.size_Ex2 = self.live.serial_N[self.slot_E], self.live.size_Nx2[self.slot_E]
    self.guides = make_guides(self.live, start.ways)
    self.arc_E = np.zeros(len(self.slot_E))
    self.rows: list[tuple] = []

  def start_pose(self) -> np.ndarray:
    return np.concatenate([self.live.centre_Nx2[self.slot_E], self.live.heading_N[self.slot_E, None]], -1)

  def gone(self) -> np.ndarray:
    """bool [E]: the simulation no longer has the vehicle."""
    return ~(self.live.present_N[self.slot_E] & (self.live.serial_N[self.slot_E] == self.serial_E))

  def add(self, pose_Ex3: np.ndarray, speed_E: np.ndarray, alive_E: np.ndarray) -> None:
    live = self.live
    self.arc_E, self.lateral_E = self.guides.locate(pose_Ex3[:, :2], self.arc_E)
    serial = np.where(live.present_N, live.serial_N, -1)
    self.box_Nx5 = boxes(live)
    everybody = self.box_Nx5.astype(np.float32), live.speed_N.astype(np.float32), serial
    own = pose_Ex3, speed_E, alive_E.copy(), self.arc_E, self.lateral_E
    self.rows.append((*own, live.signal_L().copy(), *everybody))

  def drive(self, job: SumoJob, name: str, end_E, end_step_E, other_E) -> Drive:
    columns = [np.stack(values) for values in zip(*self.rows, strict=True)]
    pose, speed, alive, arc, lateral, signal, box, speeds, serial = columns
    return Drive(
      job.domain, job.seed, name, STEP, pose, speed, alive, arc, lateral, self.guides, self.size_Ex2, end_E,
      np.minimum(end_step_E, len(pose) - 1), other_E, self.live.map.lanes, signal, box, speeds, serial,
      self.serial_E, dict(self.live.faults),
    )  # fmt: skip


def log(start: Start, job: SumoJob, steps: int) -> Drive:
  """The chosen vehicles with their own drivers. Who leaves the world has arrived, and stays where it was."""
  live, record = start.live, _Record(start)
  pose, alive = record.start_pose(), np.ones(len(start.slot_E), bool)
  end_step = np.full(len(alive), steps)
  record.add(pose, live.speed_N[start.slot_E], alive)
  for step in range(1, steps + 1):
    live.settle(STEP)
    end_step[alive & record.gone()] = step - 1
    alive = alive & ~record.gone()
    pose = np.where(alive[:, None], record.start_pose(), pose)
    record.add(pose, np.where(alive, live.speed_N[start.slot_E], 0.0), alive)
  ends = [HORIZON if still else ARRIVED for still in alive]
  return record.drive(job, "log", ends, end_step, np.full(len(alive), -1))


def drive(start: Start, driver: Driver, name: str, job: SumoJob, steps: int) -> Drive:
  """Takes the chosen vehicles over and lets `driver` drive them for `steps` steps."""
  live, slot_E, record = start.live, start.slot_E, _Record(start)
  for slot in slot_E.tolist():
    live.take(slot)
  if len(slot_E) == 1:
    live.attend(int(slot_E[0]), _REACH)
  cars = bicycle.with_straight_wheels(record.start_pose(), live.speed_N[slot_E], record.size_Ex2[:, 0])
  count = len(slot_E)
  alive, end_E, end_step, other = (
    np.ones(count, bool),
    [HORIZON] * count,
    np.full(count, steps),
    np.full(count, -1),
  )
  record.add(cars.pose_Ex3, cars.speed_E, alive)

  def finish(which_E: np.ndarray, why: str, step: int) -> None:
    for e in np.flatnonzero(which_E & alive).tolist():
      end_E[e], end_step[e], alive[e] = why, step, False
      if live.serial_N[slot_E[e]] == record.serial_E[e]:
        live.drop(int(slot_E[e]))

  for step in range(steps):
    view = View(
      live, slot_E, cars, record.guides, record.arc_E, record.lateral_E, step, job.friction, job.seed
    )
    if not step:
      driver.begin(view)
    moved = driver.move(view)
    finish(~(np.isfinite(moved.pose_Ex3).all(-1) & np.isfinite(moved.speed_E)), NOT_FINITE, step)
    finish(np.hypot(*(moved.pose_Ex3 - cars.pose_Ex3)[:, :2].T) > _LEAP, LEAPT, step)
    finish(record.gone(), VANISHED, step)
    cars = _where(alive, moved, cars)
    live.advance(slot_E[alive], cars.pose_Ex3[alive], cars.speed_E[alive])
    finish(record.gone(), VANISHED, step)
    record.add(cars.pose_Ex3, cars.speed_E, alive)
    e, n = contacts(record.box_Nx5, slot_E[alive], np.flatnonzero(live.present_N))
    other[np.flatnonzero(alive)[e]] = live.serial_N[n]
    finish(other >= 0, CONTACT, step + 1)
    finish(np.abs(record.lateral_E) > _LOST, OFF_NETWORK, step + 1)
    finish(record.arc_E > record.guides.length_E - _ARRIVAL, ARRIVED, step + 1)
    if not alive.any():
      break
  return record.drive(job, name, end_E, end_step, other)


def boxes(live: LiveWorld) -> np.ndarray:
  """float64 [N, 5]: centre, heading, length, width of every slot; of empty ones far away, where they touch nobody."""
  centre = np.where(live.present_N[:, None], live.centre_Nx2, 1e7)
  return np.concatenate([centre, live.heading_N[:, None], live.size_Nx2], -1)


def _where(alive_E, moved, before):
  """The cars that drive on, moved; the others where they were."""
  values = {}
  for field in dataclasses.fields(moved):
    new, old = getattr(moved, field.name), getattr(before, field.name)
    values[field.name] = np.where(alive_E.reshape(-1, *[1] * (new.ndim - 1)), new, old)
  return type(moved)(**values)
