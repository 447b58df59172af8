"""One run of the simulation, read out frame by frame into arrays."""

import dataclasses
import math
from typing import Any

import numpy as np

from data.schema import AgentType
from data.sumo_demand import AGENT_TYPE, Demand
from data.sumo_map import SIGNAL_OF_CHARACTER, SumoMap


@dataclasses.dataclass(frozen=True)
class Recording:
  """What the simulation reported, agents in order of appearance; values where not valid are zero.

  Attributes:
    names: agents' names in the simulation.
    front_TxAx2: float64 m, middle of the front bumper. speed_TxA: m/s.
    course_TxA: rad counter-clockwise from +x, SUMO's angle (unreliable in lane changes).
    arc_TxA: m from the start of the lane. lane_TxA: int32, -1 off the lanes. valid_TxA: bool.
    size_Ax2: float32 m. type_A: uint8 AgentType. signal_TxL: uint8 Signal.
  """

  names: list[str]
  front_TxAx2: np.ndarray
  speed_TxA: np.ndarray
  course_TxA: np.ndarray
  arc_TxA: np.ndarray
  lane_TxA: np.ndarray
  valid_TxA: np.ndarray
  size_Ax2: np.ndarray
  type_A: np.ndarray
  signal_TxL: np.ndarray

  @property
  def driving_TxA(self) -> np.ndarray:
    """bool: on a lane and not on foot."""
    return self.valid_TxA & (self.lane_TxA >= 0) & (self.type_A != AgentType.PEDESTRIAN)


def record(
  sim: Any, demand: Demand, world: SumoMap, rng: np.random.Generator,
  frames: int, step: float, stride: int, warm_up: float,
) -> Recording:  # fmt: skip
  """Runs `warm_up` s unseen, then keeps every `stride`-th step of `step` s until there are `frames`."""
  from libsumo import constants as c

  lights = stagger_lights(sim, world, rng)
  variables = [c.VAR_POSITION, c.VAR_SPEED, c.VAR_ANGLE, c.VAR_LANE_ID, c.VAR_LANEPOSITION]
  position, speed, angle, lane, arc = variables
  rows: list[tuple] = []
  states: list[list[str]] = []
  number: dict[str, int] = {}
  lane_of = world.lane_of
  demand.begin()
  warm, every = math.ceil(warm_up / step), max(round(1.0 / step), 1)
  for count in range(warm + frames * stride):
    sim.simulationStep()
    for name in sim.simulation.getDepartedIDList():
      sim.vehicle.subscribe(name, variables)
    for name in sim.simulation.getDepartedPersonIDList():
      sim.person.subscribe(name, variables)
    if count % every == 0:
      demand.top_up()
    if count < warm or (count - warm) % stride:
      continue
    frame = (count - warm) // stride
    for domain in (sim.vehicle, sim.person):
      for name, values in domain.getAllSubscriptionResults().items():
        agent = number.setdefault(name, len(number))
        x, y = values[position]
        place = lane_of.get(values[lane], -1)
        rows.append((frame, agent, x, y, values[speed], values[angle], values[arc], place))
    states.append([sim.trafficlight.getRedYellowGreenState(light) for light in lights])
  return _arrays(rows, list(number), _signals(states, lights, world), demand)


def stagger_lights(sim: Any, world: SumoMap, rng: np.random.Generator) -> list[str]:
  """Names of the lights, whose first phases get random lengths: neighbours do not switch as one."""
  lights = sorted({link.tl for link in world.links})
  for light in lights:
    sim.trafficlight.setPhase(light, 0)
    sim.trafficlight.setPhaseDuration(light, float(rng.uniform(1, 15)))
  return lights


def _arrays(rows: list[tuple], names: list[str], signal_TxL: np.ndarray, demand: Demand) -> Recording:
  table = np.array(rows, np.float64)
  place = (table[:, 0].astype(int), table[:, 1].astype(int))

  def spread(values, empty=0):
    """[n, ...] per row to [T, A, ...]."""
    out = np.full((len(signal_TxL), len(names), *values.shape[1:]), empty, values.dtype)
    out[place] = values
    return out

  types = [demand.type_of[name] for name in names]
  return Recording(
    names=names,
    front_TxAx2=spread(table[:, 2:4]),
    speed_TxA=spread(table[:, 4]),
    course_TxA=spread(np.radians(90.0 - table[:, 5])),
    arc_TxA=spread(table[:, 6]),
    lane_TxA=spread(table[:, 7].astype(np.int32), empty=-1),
    valid_TxA=spread(np.ones(len(table), bool)),
    size_Ax2=np.array([(t.length, t.width) for t in types], np.float32),
    type_A=np.array([AGENT_TYPE[t.kind] for t in types], np.uint8),
    signal_TxL=signal_TxL,
  )


def _signals(states: list[list[str]], lights: list[str], world: SumoMap) -> np.ndarray:
  """uint8 [T, L] from the state string of every light in every frame."""
  signal = np.zeros((len(states), len(world.lanes)), np.uint8)
  for column, light in enumerate(lights):
    text = np.array([list(row[column]) for row in states])
    codes = np.zeros(text.shape, np.uint8)
    for character, value in SIGNAL_OF_CHARACTER.items():
      codes[text == character] = value
    for link in world.links:
      if link.tl == light:
        signal[:, list(link.lanes)] = codes[:, link.index, None]
  return signal
