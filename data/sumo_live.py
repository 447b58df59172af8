"""A simulated world that runs step by step while some of its vehicles are driven from outside.

The rest are SUMO's drivers: they see the vehicles taken over and react to them. Between two steps the world is a set
of arrays over slots; a slot is empty, or holds one agent for as long as that is there.
"""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from data.schema import AgentType
from data.sumo_demand import AGENT_TYPE, Demand
from data.sumo_map import SIGNAL_OF_CHARACTER, SumoMap
from data.sumo_recording import stagger_lights
from data.sumo_tracks import WHEELBASE, changed, pulled_heading

STEP = 0.1  # s
_SIDESTEP = 2.0  # m to the side in one step: a change of lane, which SUMO does at once
_LEAP = 7.0  # m beyond which a step is no driving: no vehicle here reaches 70 m/s
_NOWHERE = 1e6  # m; the simulation says so of agents that have no position
_ANYWHERE, _NEAR = 2, 8.0  # moveToXY: also beside the lanes; m within which lanes are looked for
_SPARE = 64  # slots for those who enter before others have left
_TOP_UP = 10  # steps between two looks at whether traffic has thinned out


_SIGNAL = np.zeros(128, np.uint8)  # by character of a light's state
_SIGNAL[[ord(character) for character in SIGNAL_OF_CHARACTER]] = list(SIGNAL_OF_CHARACTER.values())


def _normal(heading_M: np.ndarray) -> np.ndarray:
  """float64 [M, 2]: to the left."""
  return np.stack([-np.sin(heading_M), np.cos(heading_M)], -1)


class LiveWorld:
  """One running simulation (`data.sumo.running`). `advance` moves it by `STEP` s.

  Attributes (N slots; values of empty slots mean nothing):
    present_N: bool. centre_Nx2: float64 m. heading_N: rad. speed_N: m/s. size_Nx2: m. type_N: AgentType.
    serial_N: int64, which agent it is, in order of appearance. taken_N: bool, driven from outside.
    faults: how often what was met that no agent can do, "a vehicle leapt", "no position".
  """

  def __init__(self, sim: Any, world: SumoMap, demand: Demand):
    self.sim, self.map, self.demand = sim, world, demand
    self._lights = stagger_lights(sim, world, demand.rng)
    self._slot_of: dict[str, int] = {}
    self._steps = self._appeared = 0
    self._attended = ""  # the vehicle whose surroundings are read out; "": everybody is
    self.faults: Counter[str] = Counter()
    slots = demand.vehicles + demand.pedestrians + _SPARE
    self._names, self._free = [""] * slots, list(range(slots))[::-1]
    self.present_N, self.taken_N = np.zeros(slots, bool), np.zeros(slots, bool)
    self.centre_Nx2, self.size_Nx2 = np.zeros((slots, 2)), np.ones((slots, 2))
    self.heading_N, self.speed_N = np.zeros(slots), np.zeros(slots)
    self.type_N, self.serial_N = np.zeros(slots, np.uint8), np.full(slots, -1)
    self._front_Nx2, self._raw_Nx2 = np.zeros((slots, 2)), np.zeros((slots, 2))  # as seen; as SUMO says
    # A change of lane under way: by how many m to the left, and for how long and how far.
    self._aside_N, self._since_N, self._driven_N = np.zeros(slots), np.zeros(slots), np.zeros(slots)
    self._shown = []  # by light: which of its links each of its lanes shows
    for light in self._lights:
      pairs = [(link.index, lane) for link in world.links if link.tl == light for lane in link.lanes]
      self._shown.append((light, *np.array(pairs, np.int64).T))
    self._signal_L, self._signal_of = np.zeros(len(world.lanes), np.uint8), -1
    self._states = [""] * len(self._shown)
    demand.begin()

  def name_of(self, slot: int) -> str:
    return self._names[slot]

  def take(self, slot: int) -> None:
    """From now on the vehicle goes where `advance` is told, whatever the simulation thinks of it."""
    name = self._names[slot]
    self.sim.vehicle.setSpeedMode(name, 0)
    self.sim.vehicle.setLaneChangeMode(name, 0)
    self.taken_N[slot] = True

  def attend(self, slot: int, reach: float) -> None:
    """From now on only who is within `reach` m of that vehicle is read out, for as long as it is there.

    Who leaves the circle has left the arrays, and is somebody else when back. The simulation goes on as it was.
    """
    from libsumo import constants as c

    for name in self._slot_of:
      self._domain(name).unsubscribe(name)
    self._attended = self._names[slot]
    for others in (c.CMD_GET_VEHICLE_VARIABLE, c.CMD_GET_PERSON_VARIABLE):
      self.sim.vehicle.subscribeContext(self._attended, others, reach, [c.VAR_POSITION])

  def drop(self, slot: int) -> None:
    """Takes a vehicle out of the world."""
    name = self._names[slot]
    if name in self._slot_of:
      if not self._attended:
        self.sim.vehicle.unsubscribe(name)
      self.sim.vehicle.remove(name)
      self._leave(name)

  def advance(self, slot_E: np.ndarray, pose_Ex3: np.ndarray, speed_E: np.ndarray) -> None:
    """One step. Vehicles taken over will then be at `pose_Ex3` (centre x, y in m, heading in rad) with `speed_E`."""
    heading = pose_Ex3[:, 2]
    reach = 0.5 * self.size_Nx2[slot_E, :1]
    front_Ex2 = pose_Ex3[:, :2] + reach * np.stack([np.cos(heading), np.sin(heading)], -1)
    compass_E = np.degrees(0.5 * np.pi - heading)
    vehicle = self.sim.vehicle
    rows = zip(slot_E.tolist(), front_Ex2.tolist(), compass_E.tolist(), speed_E.tolist(), strict=True)
    for slot, (x, y), compass, speed in rows:
      name = self._names[slot]
      vehicle.moveToXY(name, "", -1, x, y, compass % 360.0, _ANYWHERE, _NEAR)
      vehicle.setPreviousSpeed(name, speed)
    self._step()
    here = self.present_N[slot_E]
    slot_E = slot_E[here]
    self.centre_Nx2[slot_E], self.heading_N[slot_E] = pose_Ex3[here, :2], heading[here]
    self.speed_N[slot_E], self._front_Nx2[slot_E] = speed_E[here], front_Ex2[here]

  def settle(self, seconds: float) -> None:
    """Runs without anybody taken over."""
    for _ in range(round(seconds / STEP)):
      self._step()

  def signal_L(self) -> np.ndarray:
    """uint8 [L] Signal at the end of every lane now."""
    if self._signal_of != self._steps:
      self._signal_of = self._steps
      state_of = self.sim.trafficlight.getRedYellowGreenState
      for k, (light, links, shown) in enumerate(self._shown):
        state = state_of(light)
        if state != self._states[k]:  # every few seconds
          self._states[k] = state
          self._signal_L[shown] = _SIGNAL[np.frombuffer(state.encode("ascii"), np.uint8)[links]]
    return self._signal_L

  def _step(self) -> None:
    from libsumo import constants as c

    self.sim.simulationStep()
    self._steps += 1
    slot_of, position = self._slot_of, c.VAR_POSITION
    if self._attended:
      seen = [self.sim.vehicle.getContextSubscriptionResults(self._attended)]
      for name in [name for name in seen[0] if name not in slot_of]:
        self._enter(name)
    else:
      for name in (
        *self.sim.simulation.getDepartedIDList(),
        *self.sim.simulation.getDepartedPersonIDList(),
      ):
        self._domain(name).subscribe(name, [position])
        self._enter(name)
      seen = [self.sim.vehicle.getAllSubscriptionResults(), self.sim.person.getAllSubscriptionResults()]
    slots = [slot_of[name] for found in seen for name in found]
    fronts = [values[position] for found in seen for values in found.values()]
    if len(slots) < len(self._slot_of):
      for name in [name for name in self._slot_of if not any(name in found for found in seen)]:
        self._leave(name)
    self._move(np.array(slots, np.int64), np.array(fronts, np.float64).reshape(-1, 2))
    if self._steps % _TOP_UP == 0:
      self.demand.top_up()

  def _move(self, slot_M: np.ndarray, front_Mx2: np.ndarray) -> None:
    """Arrays follow from where the fronts are now; a slot that was entered in this step keeps its first heading."""
    if not np.abs(front_Mx2).max(initial=0.0) < _NOWHERE:
      known = (np.abs(front_Mx2) < _NOWHERE).all(-1)
      self.faults["no position"] += int(self.present_N[slot_M[~known]].sum())  # once, not at every step
      self.present_N[slot_M[~known]] = False
      slot_M, front_Mx2 = slot_M[known], front_Mx2[known]
    was, old = self.present_N[slot_M], self.heading_N[slot_M]
    pull_Mx2 = front_Mx2 - self._raw_Nx2[slot_M]
    pull_Mx2[~was] = 0.0
    far = np.hypot(pull_Mx2[:, 0], pull_Mx2[:, 1])
    self._raw_Nx2[slot_M] = front_Mx2
    if far.max(initial=0.0) > _LEAP:
      leapt = (far > _LEAP) & ~self.taken_N[
        slot_M
      ]  # somebody else, as far as anyone can tell: its track begins anew
      self.faults["a vehicle leapt"] += int(leapt.sum())
      was = was & ~leapt
      for slot in slot_M[leapt].tolist():
        self.serial_N[slot], self._appeared = self._appeared, self._appeared + 1
    front_Mx2 = self._drawn_out(slot_M, front_Mx2, pull_Mx2, far, was, old)
    pull_Mx2 = front_Mx2 - self._front_Nx2[slot_M]
    pull_Mx2[~was] = 0.0
    rod_M = WHEELBASE * self.size_Nx2[slot_M, 0]
    heading = pulled_heading(old, pull_Mx2, rod_M)
    ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
    self.heading_N[slot_M] = heading
    self.centre_Nx2[slot_M] = front_Mx2 - 0.5 * self.size_Nx2[slot_M, :1] * ahead
    self.speed_N[slot_M[was]] = np.hypot(pull_Mx2[was, 0], pull_Mx2[was, 1]) / STEP
    self._front_Nx2[slot_M], self.present_N[slot_M] = front_Mx2, True

  def _drawn_out(self, slot_M, front_Mx2, pull_Mx2, far_M, was_M, heading_M) -> np.ndarray:
    """Fronts [M, 2] m with changes of lane drawn out over time and distance, as scenes have them."""
    self._aside_N[slot_M[~was_M]] = 0.0
    quick_M = np.flatnonzero(was_M & (far_M > _SIDESTEP))  # nobody else can have changed lanes
    aside_K = (pull_Mx2[quick_M] * _normal(heading_M[quick_M])).sum(-1)
    stepped_K = (np.abs(aside_K) > _SIDESTEP) & ~self.taken_N[slot_M[quick_M]]
    chosen = slot_M[quick_M[stepped_K]]
    if len(chosen):
      self._aside_N[chosen] = self._to_come(chosen) + aside_K[stepped_K]
    under_way_M = np.flatnonzero(self._aside_N[slot_M])
    if not len(under_way_M):  # mostly nobody changes lanes
      return front_Mx2
    slots = slot_M[under_way_M]
    self._since_N[slots] += STEP
    self._driven_N[slots] += far_M[under_way_M]
    self._since_N[chosen] = self._driven_N[chosen] = 0.0
    to_come = self._to_come(slots)
    self._aside_N[slots[to_come == 0]] = 0.0
    front_Mx2 = front_Mx2.copy()
    front_Mx2[under_way_M] -= to_come[:, None] * _normal(heading_M[under_way_M])
    return front_Mx2

  def _to_come(self, slots: np.ndarray) -> np.ndarray:
    """float64 [K] m to the left: what of each change of lane is still to come."""
    aside = self._aside_N[slots]
    return aside * (1 - changed(self._since_N[slots], self._driven_N[slots], aside))

  def _domain(self, name: str) -> Any:
    """Of the simulation: vehicles, or those on foot."""
    walks = AGENT_TYPE[self.demand.type_of[name].kind] == AgentType.PEDESTRIAN
    return self.sim.person if walks else self.sim.vehicle

  def _enter(self, name: str) -> None:
    slot, domain = self._free.pop(), self._domain(name)
    kind = self.demand.type_of[name]
    self._slot_of[name], self._names[slot] = slot, name
    self.size_Nx2[slot], self.type_N[slot] = (kind.length, kind.width), AGENT_TYPE[kind.kind]
    self.heading_N[slot] = np.radians(90.0 - domain.getAngle(name))
    self.speed_N[slot] = domain.getSpeed(name)
    self.serial_N[slot], self._appeared = self._appeared, self._appeared + 1
    self.present_N[slot] = self.taken_N[slot] = False

  def _leave(self, name: str) -> None:
    slot = self._slot_of.pop(name)
    self.present_N[slot] = self.taken_N[slot] = False
    self._aside_N[slot] = 0.0
    self._free.append(slot)


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A vehicle that may be taken over: its slot, its lane, and the roads of its route from there on."""

  slot: int
  lane: int
  route: tuple[int, ...]


def candidates(live: LiveWorld) -> list[Candidate]:
  """Cars (on aprons service vehicles too) that are on a lane and will not stop on purpose, in order of appearance."""
  found = []
  kinds = (AgentType.CAR, AgentType.SERVICE)
  for slot in np.flatnonzero(live.present_N & np.isin(live.type_N, kinds)).tolist():
    name = live.name_of(slot)
    lane = live.map.lane_of.get(live.sim.vehicle.getLaneID(name), -1)
    if lane < 0 or live.sim.vehicle.getStops(name):
      continue
    found.append(Candidate(slot, lane, tuple(live.demand.route_of[name])))
  return sorted(found, key=lambda candidate: live.serial_N[candidate.slot])
