"""Who drives, how, and where to: driver types drawn from the scene seed, and routes that exist.

Drivers follow their leader by the Intelligent Driver Model (Treiber, Hennecke and Helbing, Phys. Rev. E 62,
2000), its extension EIDM (Salles, Kaufmann and Reuss, VEHITS 2020) or Krauss' model (1998). `driver_noise`
scales every random term of these; at 0 a driver's next move follows from what the driver sees.
"""

import dataclasses
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from data.schema import AgentType
from data.sumo_map import SumoMap

MIX: dict[str, dict[str, float]] = {  # share of each type among the vehicles of a domain
  "urban_grid": {"car": 0.76, "truck": 0.05, "bus": 0.04, "motorcycle": 0.05, "bicycle": 0.10},
  "suburb": {"car": 0.80, "truck": 0.03, "bus": 0.03, "motorcycle": 0.04, "bicycle": 0.10},
  "ring_radial": {"car": 0.82, "truck": 0.07, "bus": 0.05, "motorcycle": 0.06},
  "rural": {"car": 0.78, "truck": 0.14, "bus": 0.02, "motorcycle": 0.06},
  "highway": {"car": 0.77, "truck": 0.18, "bus": 0.02, "motorcycle": 0.03},
  "roundabout": {"car": 0.83, "truck": 0.08, "bus": 0.04, "motorcycle": 0.05},
  "apron": {"service": 0.75, "bus": 0.10, "car": 0.15},
}
_STAND_TIME = 8.0, 40.0  # s a vehicle stays at an apron stand
PEDESTRIANS = {"urban_grid": 0.20, "suburb": 0.15}  # per vehicle

AGENT_TYPE = {
  "car": AgentType.CAR, "truck": AgentType.TRUCK, "bus": AgentType.BUS, "motorcycle": AgentType.MOTORCYCLE,
  "bicycle": AgentType.BICYCLE, "pedestrian": AgentType.PEDESTRIAN, "service": AgentType.SERVICE,
}  # fmt: skip
_SUMO_CLASS = {"car": "passenger", "service": "passenger"}
_VARIANTS = {"car": 12, "truck": 3, "bus": 2, "motorcycle": 2, "bicycle": 3, "pedestrian": 3, "service": 5}

# Uniform ranges: length, width m; accel, decel m/s^2; tau s; minGap m; speedFactor; maxSpeed m/s.
_RANGES = {
  "car": ((3.7, 5.1), (1.65, 2.0), (1.7, 2.8), (2.8, 4.2), (1.0, 1.8), (1.8, 2.8), (0.86, 1.12), (50, 55)),
  "truck": ((8, 14), (2.4, 2.55), (0.8, 1.3), (2.5, 3.5), (1.4, 2.2), (2.2, 3.2), (0.8, 1.0), (23, 26)),
  "bus": ((11, 13), (2.5, 2.55), (0.9, 1.3), (2.5, 3.5), (1.3, 2.0), (2.2, 3.0), (0.8, 1.0), (24, 28)),
  "motorcycle": (
    (2.0, 2.3),
    (0.7, 0.9),
    (2.5, 3.5),
    (3.5, 5.0),
    (0.9, 1.5),
    (1.5, 2.5),
    (0.9, 1.2),
    (50, 55),
  ),
  "bicycle": ((1.6, 1.8), (0.6, 0.7), (0.8, 1.2), (2.0, 3.0), (0.9, 1.3), (0.6, 1.2), (1.0, 1.0), (4, 6.5)),
  "service": ((3.0, 8.0), (1.6, 2.6), (0.6, 1.2), (1.8, 2.8), (1.2, 2.0), (1.5, 3.0), (0.7, 1.0), (6, 8.4)),
}


@dataclasses.dataclass(frozen=True)
class DriverType:
  """One `vType` of the simulation; lengths in m."""

  name: str
  kind: str
  length: float
  width: float
  xml: str


def driver_types(
  domain: str, rng: np.random.Generator, driver_noise: float, friction: float, light: str
) -> list[DriverType]:
  """The drivers of one scene.

  A slippery road makes them slower to speed up, gentler with the brake and keen to keep more distance (the
  lower friction also lowers their speed, through SUMO's friction device); at night they drive 4 % slower.
  """
  kinds = [*MIX[domain], *(["pedestrian"] if domain in PEDESTRIANS else [])]
  return [
    _walker(k, rng) if kind == "pedestrian" else _driver(kind, k, rng, driver_noise, friction, light)
    for kind in kinds
    for k in range(_VARIANTS[kind])
  ]


def _driver(kind, number, rng, driver_noise, friction, light) -> DriverType:
  length, width, accel, decel, tau, gap, factor, top = (rng.uniform(*bounds) for bounds in _RANGES[kind])
  slip = 1.0 - friction
  decel *= 1 - 0.4 * slip
  values = {
    "length": length,
    "width": width,
    "accel": accel * (1 - 0.5 * slip),
    "decel": decel,
    "emergencyDecel": max(min(7.0, 9.0 * friction), decel),
    "tau": tau * (1 + 0.6 * slip),
    "minGap": gap * (1 + 0.3 * slip),
    "speedFactor": factor * (0.96 if light == "night" else 1.0),
    "speedDev": 0.0,
    "maxSpeed": top,
    "lcAssertive": rng.uniform(0.8, 1.4),
    "lcSpeedGain": rng.uniform(0.6, 1.4),
  }
  model = rng.choice(["IDM", "EIDM", "Krauss"], p=[0.65, 0.15, 0.2]) if kind != "bicycle" else "IDM"
  if model == "Krauss":
    values["sigma"] = driver_noise
  elif model == "EIDM":  # SUMO's defaults at full noise
    values |= {"sigmaleader": 0.02, "sigmagap": 0.1, "sigmaerror": 0.04}
    values |= {k: values[k] * driver_noise for k in ("sigmaleader", "sigmagap", "sigmaerror")}
  name = f"{kind}{number}"
  attributes = {"id": name, "vClass": _SUMO_CLASS.get(kind, kind), "carFollowModel": str(model)}
  attributes |= {k: f"{v:.4f}" for k, v in values.items()}
  body = '<param key="has.friction.device" value="true"/>' if friction < 1 else ""
  return DriverType(name, kind, round(length, 4), round(width, 4), _xml(attributes, body))


def _walker(number: int, rng: np.random.Generator) -> DriverType:
  name = f"pedestrian{number}"
  attributes = {"id": name, "vClass": "pedestrian", "length": "0.5", "width": "0.5", "speedDev": "0"}
  return DriverType(
    name, "pedestrian", 0.5, 0.5, _xml(attributes | {"maxSpeed": f"{rng.uniform(1, 1.7):.3f}"}, "")
  )


def _xml(attributes: dict[str, str], body: str) -> str:
  return f"<vType {' '.join(f'{k}={quoteattr(v)}' for k, v in attributes.items())}>{body}</vType>"


class Demand:
  """Keeps a running simulation at its intended number of vehicles and pedestrians.

  Every route has been found by the simulation's own router before anyone is sent on it; unreachable
  destinations would leave vehicles standing at lane ends, and a queue behind each of them.
  """

  def __init__(self, sim: Any, world: SumoMap, domain: str, types: list[DriverType], rng, vehicles: int):
    self.sim, self.world, self.rng, self.vehicles = sim, world, rng, vehicles
    self.pedestrians = round(vehicles * PEDESTRIANS.get(domain, 0.0)) if world.walks else 0
    self.types = types
    self.type_of: dict[str, DriverType] = {}
    self.route_of: dict[str, list[int]] = {}
    self._variants = {kind: [t for t in types if t.kind == kind] for kind in MIX[domain]}
    self._kinds, self._shares = list(MIX[domain]), np.cumsum(list(MIX[domain].values()))
    self._walkers = [t for t in types if t.kind == "pedestrian"]
    self._routes: dict[tuple[str, str, str], tuple[str, ...]] = {}
    self._known: dict[tuple[str, ...], str] = {}
    self._at_stand: dict[str, str] = {}
    self._count = 0

  def begin(self) -> None:
    """Spreads the first vehicles over the whole network."""
    for stand in self.world.stands:  # the router shall not use stands as short cuts
      self.sim.edge.adaptTraveltime(stand, 600.0)
    for _ in range(self.vehicles):
      self._vehicle(inside=True)
    for _ in range(self.pedestrians):
      self._pedestrian()

  def top_up(self) -> None:
    """Replaces those who have left; newcomers enter at the rim."""
    sim = self.sim
    pending = sim.simulation.getPendingVehicles()
    if self._at_stand:
      present = {*sim.vehicle.getIDList(), *pending}
      self._at_stand = {stand: name for stand, name in self._at_stand.items() if name in present}
    missing = self.vehicles - sim.vehicle.getIDCount() - len(pending)
    for _ in range(missing):
      self._vehicle(inside=False)
    for _ in range(self.pedestrians - sim.person.getIDCount()):
      self._pedestrian()

  def _vehicle(self, inside: bool) -> None:
    kind = self._kinds[min(int(np.searchsorted(self._shares, self.rng.random())), len(self._kinds) - 1)]
    driver = self._variants[kind][self.rng.integers(len(self._variants[kind]))]
    stand = self._free_stand()
    route = self._by_way_of(stand, driver) if stand else self._route(driver)
    place, speed = "base", "desired"
    if inside:
      ends = np.cumsum([self.world.length_of[edge] for edge in route])
      driven = self.rng.random() * ends[-1]
      first = int(np.searchsorted(ends, driven))
      place, speed = f"{driven - ends[first] + self.world.length_of[route[first]]:.2f}", "max"
      route = route[first:]
    if route not in self._known:
      self._known[route] = f"r{len(self._known)}"
      self.sim.route.add(self._known[route], route)
    name = self._named(driver, route)
    self.sim.vehicle.add(
      name, self._known[route], driver.name, departLane="best", departPos=place, departSpeed=speed
    )
    if stand in route[1:]:
      self._at_stand[stand] = name
      halfway = 0.5 * self.world.length_of[stand] + 0.5 * driver.length
      self.sim.vehicle.setStop(name, stand, halfway, 0, self.rng.uniform(*_STAND_TIME))

  def _free_stand(self) -> str:
    """A stand nobody is at or on the way to, most of the time; else, and where there are none, ""."""
    if not self.world.stands:
      return ""
    stand = self.world.stands[self.rng.integers(len(self.world.stands))]
    return "" if stand in self._at_stand else stand

  def _by_way_of(self, stand: str, driver: DriverType) -> tuple[str, ...]:
    """A random route over a stand; the rim edges are drawn until both halves exist."""
    for _ in range(200):
      start = self.world.entries[self.rng.integers(len(self.world.entries))]
      end = self.world.exits[self.rng.integers(len(self.world.exits))]
      there, onward = self._found(start, stand, driver), self._found(stand, end, driver)
      if there and onward:
        return there + onward[1:]
    raise RuntimeError(f"no route over {stand}")

  def _route(self, driver: DriverType) -> tuple[str, ...]:
    """A random route from rim to rim that this driver can drive."""
    entries, exits = self.world.entries, self.world.exits
    for _ in range(200):
      start = entries[self.rng.integers(len(entries))]
      end = exits[self.rng.integers(len(exits))]
      route = self._found(start, end, driver)
      if route:
        return route
    raise RuntimeError(f"no route for {driver.name} through {len(entries)} entries, {len(exits)} exits")

  def _found(self, start: str, end: str, driver: DriverType) -> tuple[str, ...]:
    """The quickest route, empty if there is none."""
    key = (start, end, "bicycle" if driver.kind == "bicycle" else "motor")
    if key not in self._routes:
      self._routes[key] = tuple(self.sim.simulation.findRoute(start, end, driver.name).edges)
    return self._routes[key]

  def _pedestrian(self) -> None:
    walker, walks = self._walkers[self.rng.integers(len(self._walkers))], self.world.walks
    for _ in range(200):
      start, end = walks[self.rng.integers(len(walks))], walks[self.rng.integers(len(walks))]
      key = (start, end, "walk")
      if key not in self._routes:
        stages = self.sim.simulation.findIntermodalRoute(start, end, "") if start != end else []
        self._routes[key] = tuple(stages[0].edges) if len(stages) == 1 else ()
      route = self._routes[key]
      if route:
        break
    else:
      raise RuntimeError("no walk through the network")
    name = self._named(walker, route)
    length = self.world.length_of.get(start, 20.0)
    self.sim.person.add(name, start, self.rng.uniform(0.1, 0.9) * length, typeID=walker.name)
    self.sim.person.appendWalkingStage(name, list(route), self.rng.uniform(0.2, 0.8) * 20.0)

  def _named(self, driver: DriverType, route: tuple[str, ...]) -> str:
    name = f"{driver.kind}.{self._count}"
    self._count += 1
    self.type_of[name] = driver
    self.route_of[name] = [self.world.road_of[edge] for edge in route]
    return name
