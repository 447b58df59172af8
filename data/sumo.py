"""Log source `sumo`: simulated worlds (P. A. Lopez et al., "Microscopic Traffic Simulation using SUMO", ITSC
2018) as scenes. Every scene has a map of its own; a job and the SUMO version determine every byte.

libsumo holds one simulation per process: run jobs one after another, or in several processes.
"""

import dataclasses
import datetime
import hashlib
import math
import pathlib
import tempfile
from typing import Any

import numpy as np

from data import schema, sumo_demand, sumo_map, sumo_networks, sumo_tracks
from data.errors import BadInput
from data.schema import Scene

DOMAINS = ("urban_grid", "suburb", "ring_radial", "rural", "highway", "roundabout", "apron")
MIN_FRAMES = 4  # agents seen for less are left out

_WARM_UP = 20.0  # s
_MAX_STEP = 0.5  # s of one simulation step
_DENSITY = {  # vehicles per kilometre of lane
  "urban_grid": (7, 13), "suburb": (5, 9), "ring_radial": (6, 11), "rural": (3, 7), "highway": (6, 12),
  "roundabout": (14, 24), "apron": (9, 15),
}  # fmt: skip
_VEHICLES = (40, 120)
_WEATHER = {
  "clear": (0.55, (0.95, 1.0)),
  "rain": (0.25, (0.55, 0.8)),
  "snow": (0.1, (0.3, 0.5)),
  "fog": (0.1, (0.8, 0.95)),
}


@dataclasses.dataclass(frozen=True)
class SumoJob:
  """One world to simulate.

  Attributes:
    domain: one of DOMAINS. seed: of map, drivers and traffic. steps: frames. dt: s between frames.
    driver_noise: 0 (deterministic drivers) to 1. weather, light, traffic_side: as in data.schema.Metadata.
    friction: of the road, in (0, 1]. density: vehicles per kilometre of lane aimed at.
  """

  domain: str
  seed: int
  steps: int
  dt: float
  driver_noise: float
  weather: str
  light: str
  traffic_side: str
  friction: float
  density: float


def plan(
  seed: int, scenes_per_domain: int, steps: int, dt: float, driver_noise: float, domains=DOMAINS
) -> list[SumoJob]:
  """Jobs with distinct seeds; a job depends on its domain and number, not on how many others there are."""
  jobs = []
  for domain in domains:
    if domain not in DOMAINS:
      raise BadInput(f"unknown domain {domain!r}", "source sumo", f"choose from {', '.join(DOMAINS)}")
    for k in range(scenes_per_domain):
      own = (seed * 1_000_000 + k) * len(DOMAINS) + DOMAINS.index(domain)
      rng = np.random.default_rng([own, 0])
      weather = str(rng.choice(list(_WEATHER), p=[share for share, _ in _WEATHER.values()]))
      jobs.append(
        SumoJob(
          domain=domain,
          seed=own,
          steps=steps,
          dt=dt,
          driver_noise=driver_noise,
          weather=weather,
          light=str(rng.choice(["day", "dusk", "night"], p=[0.6, 0.15, 0.25])),
          traffic_side="left" if rng.random() < 0.3 else "right",
          friction=round(float(rng.uniform(*_WEATHER[weather][1])), 3),
          density=round(float(rng.uniform(*_DENSITY[domain])), 2),
        )
      )
  return jobs


def simulate(job: SumoJob) -> Scene:
  """Builds the map, fills it, lets traffic settle and records `job.steps` frames.

  Raises BadInput when SUMO is not installed or `job.dt` is not a whole number of milliseconds.
  """
  step, stride = _steps(job.dt)
  sim = _libsumo()
  map_rng, demand_rng = (np.random.default_rng([job.seed, stream]) for stream in (1, 2))
  left_hand = job.traffic_side == "left"
  with tempfile.TemporaryDirectory(prefix="drivetrain-sumo-") as name:
    folder = pathlib.Path(name)
    net = sumo_networks.build(job.domain, map_rng, left_hand, job.friction, folder)
    world = sumo_map.read(net, left_hand)
    types = sumo_demand.driver_types(job.domain, demand_rng, job.driver_noise, job.friction, job.light)
    additional = folder / "types.xml"
    additional.write_text("<additional>" + "".join(t.xml for t in types) + "</additional>", encoding="utf-8")
    vehicles = int(np.clip(round(job.density * world.lane_km), *_VEHICLES))
    sim.start(_options(net, additional, step, job))
    try:
      demand = sumo_demand.Demand(sim, world, job.domain, types, demand_rng, vehicles)
      log = _record(sim, demand, world, job, demand_rng, step, stride)
    finally:
      sim.close()
  return schema.validate(_scene(job, world, demand, log, vehicles, sim.getVersion()[1]), _identity(job))


def _libsumo() -> Any:
  try:
    import libsumo
  except ImportError as error:
    raise BadInput(f"libsumo is not installed ({error})", "source sumo", "run `make env`") from None
  return libsumo


def _steps(dt: float) -> tuple[float, int]:
  """Simulation step in s and steps per frame."""
  if not (dt >= 0.01 and abs(dt * 1000 - round(dt * 1000)) < 1e-6):
    raise BadInput(f"dt is {dt} s", "source sumo", "choose whole milliseconds, at least 0.01 s")
  stride = math.ceil(dt / _MAX_STEP - 1e-9)
  step = dt / stride
  if abs(step * 1000 - round(step * 1000)) > 1e-6:
    raise BadInput(
      f"dt {dt} s does not divide into whole-millisecond steps", "source sumo", "choose another dt"
    )
  return step, stride


def _options(net: pathlib.Path, additional: pathlib.Path, step: float, job: SumoJob) -> list[str]:
  options = {
    "net-file": net, "additional-files": additional, "seed": job.seed % 2**31, "step-length": f"{step:.3f}",
    "default.action-step-length": f"{max(step, 0.2 // step * step):.3f}", "collision.action": "none",
    "time-to-teleport": -1, "time-to-impatience": 60, "max-depart-delay": 20, "device.friction.stdDev": 0,
    "pedestrian.striping.dawdling": 0.2 * job.driver_noise, "xml-validation": "never",
  }  # fmt: skip
  flags = ["--step-method.ballistic", "--no-step-log", "--no-warnings", "--duration-log.disable"]
  return ["sumo", *(text for k, v in options.items() for text in (f"--{k}", str(v))), *flags]


@dataclasses.dataclass
class _Log:
  """Rows (frame, agent, x, y, speed, angle, arc, lane), angle in degrees clockwise from north; the agents'
  names in order of appearance; the state string of every light in every frame."""

  rows: list[tuple]
  names: list[str]
  lights: list[list[str]]


def _record(sim, demand, world, job, rng, step: float, stride: int) -> _Log:
  from libsumo import constants as c

  lights = sorted({link.tl for link in world.links})
  for light in lights:  # neighbouring lights do not switch as one
    sim.trafficlight.setPhase(light, 0)
    sim.trafficlight.setPhaseDuration(light, float(rng.uniform(1, 15)))
  variables = [c.VAR_POSITION, c.VAR_SPEED, c.VAR_ANGLE, c.VAR_LANE_ID, c.VAR_LANEPOSITION]
  position, speed, angle, lane, arc = variables
  log = _Log([], [], [])
  number: dict[str, int] = {}
  lane_of = world.lane_of
  demand.begin()
  warm = math.ceil(_WARM_UP / step)
  every = max(round(1.0 / step), 1)
  for count in range(warm + job.steps * stride):
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
        agent = number.get(name)
        if agent is None:
          agent = number[name] = len(log.names)
          log.names.append(name)
        x, y = values[position]
        place = lane_of.get(values[lane], -1)
        log.rows.append((frame, agent, x, y, values[speed], values[angle], values[arc], place))
    log.lights.append([sim.trafficlight.getRedYellowGreenState(light) for light in lights])
  return log


def _scene(job, world, demand, log: _Log, vehicles: int, version: str) -> Scene:
  rows = np.array(log.rows, np.float64)
  frame, agent = rows[:, 0].astype(int), rows[:, 1].astype(int)
  shape = (job.steps, len(log.names))
  front, valid = np.zeros((*shape, 2)), np.zeros(shape, bool)
  speed, course, arc, lane = (np.zeros(shape) for _ in range(4))
  front[frame, agent], valid[frame, agent] = rows[:, 2:4], True
  speed[frame, agent], course[frame, agent], arc[frame, agent] = (
    rows[:, 4],
    np.radians(90 - rows[:, 5]),
    rows[:, 6],
  )
  lane[frame, agent] = rows[:, 7] + 1
  lane = lane.astype(np.int32) - 1

  types = [demand.type_of[name] for name in log.names]
  size = np.array([(t.length, t.width) for t in types], np.float32)
  kind = np.array([sumo_demand.AGENT_TYPE[t.kind] for t in types], np.uint8)
  driving = valid & (lane >= 0) & (kind != schema.AgentType.PEDESTRIAN)
  course[driving] = sumo_tracks.lane_courses(world.lanes, lane[driving], arc[driving])
  front, driven = sumo_tracks.smooth_lane_changes(
    front,
    course,
    np.where(driving, lane, -1),
    np.where(driving, world.lanes.road_L[lane], -1),
    world.lanes,
    job.dt,
  )
  lane = np.where(driving, driven, lane)
  first = course[valid.argmax(0), np.arange(shape[1])]
  heading = sumo_tracks.headings(front, valid, first, size[:, 0])
  ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
  centre = front - 0.5 * size[None, :, :1] * ahead
  order = _ego_first(valid, speed, kind)
  order = order[valid[:, order].sum(0) >= MIN_FRAMES]
  mask = valid[:, order, None]
  routes = [demand.route_of[log.names[a]] for a in order]
  tracks = {
    "position_TxAx2": np.where(mask, centre[:, order], 0).astype(np.float32),
    "heading_TxA": np.where(mask[..., 0], heading[:, order], 0).astype(np.float32),
    "velocity_TxAx2": np.where(mask, (speed[..., None] * ahead)[:, order], 0).astype(np.float32),
    "valid_TxA": valid[:, order],
    "lane_TxA": lane[:, order],
    "size_Ax2": size[order],
    "type_A": kind[order],
    "signal_TxL": _signals(log.lights, world),
  }
  moving = np.hypot(*np.moveaxis(tracks["velocity_TxAx2"], -1, 0))[tracks["valid_TxA"]]
  events = sumo_tracks.rare_events(tracks | {"arc_TxA": arc[:, order]}, job.dt)
  return Scene(
    metadata=_metadata(job, world, vehicles, version, schema.speed_regime(moving), events),
    lanes=world.lanes,
    track_A=order.astype(np.int64),
    route=np.array([road for route in routes for road in route], np.int32),
    route_splits=np.cumsum([0, *map(len, routes)]).astype(np.int32),
    **tracks,
  )


def _ego_first(valid_TxA: np.ndarray, speed_TxA: np.ndarray, type_A: np.ndarray) -> np.ndarray:
  """Agents in order of appearance, after the car seen longest (of those, the one driven furthest)."""
  frames, travelled = valid_TxA.sum(0), speed_TxA.sum(0)
  ego = int(np.lexsort((travelled, frames, type_A == schema.AgentType.CAR))[-1])
  rest = np.arange(len(frames))
  return np.concatenate([[ego], rest[rest != ego]])


def _signals(states: list[list[str]], world: sumo_map.SumoMap) -> np.ndarray:
  """uint8 [T, L] from the state string of every light in every frame."""
  signal = np.zeros((len(states), len(world.lanes)), np.uint8)
  lights = sorted({link.tl for link in world.links})
  for column, light in enumerate(lights):
    text = np.array([list(row[column]) for row in states])
    codes = np.zeros(text.shape, np.uint8)
    for character, value in sumo_map.SIGNAL_OF_CHARACTER.items():
      codes[text == character] = value
    for link in world.links:
      if link.tl == light:
        signal[:, list(link.lanes)] = codes[:, link.index, None]
  return signal


def _identity(job: SumoJob) -> str:
  digest = hashlib.sha256(repr(job).encode()).hexdigest()[:12]
  return f"sumo-{job.domain}-{job.seed}-{digest}"


def _metadata(
  job, world, vehicles: int, version: str, regime: str, events: tuple[str, ...]
) -> schema.Metadata:
  day = datetime.date(2000, 1, 1) + datetime.timedelta(days=job.seed * 2_654_435_761 % 2**32 % 9000)
  return schema.Metadata(
    scene_id=_identity(job),
    source="sumo",
    domain=job.domain,
    geography=f"synthetic:{job.domain}",
    route=f"synthetic:{world.map_id}",
    map_id=world.map_id,
    recording=_identity(job),
    start_s=_WARM_UP,
    dt=job.dt,
    date=day.isoformat(),
    map_version=version,
    map_date=day.isoformat(),
    weather=job.weather,
    light=job.light,
    speed_regime=regime,
    operation="airport" if job.domain == "apron" else "road",
    traffic_side=job.traffic_side,
    rare_events=events,
    label_source="simulator",
    label_horizon_s=0.0,
    seed=job.seed,
    friction=job.friction,
    driver_noise=job.driver_noise,
    density=round(vehicles / world.lane_km, 3),
  )
