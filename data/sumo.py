"""Log source `sumo`: simulated worlds (P. A. Lopez et al., "Microscopic Traffic Simulation using SUMO", ITSC
2018) as scenes. Every scene has a map of its own; a job and the SUMO version determine every byte.

libsumo holds one simulation per process: run jobs one after another, or in several processes.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import math
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data import schema, sumo_demand, sumo_map, sumo_networks, sumo_tracks
from data.errors import BadInput
from data.schema import Scene
from data.sumo_demand import Demand
from data.sumo_map import SumoMap
from data.sumo_recording import Recording, record

DOMAINS = ("urban_grid", "suburb", "ring_radial", "rural", "highway", "roundabout", "apron")
MIN_FRAMES = 4  # agents seen for less are left out

WARM_UP = 20.0  # s that traffic settles unseen
_MAX_STEP = 0.5  # s of one simulation step
_DENSITY = {  # vehicles per kilometre of lane: dense enough that most drivers have someone ahead
  "urban_grid": (10, 18), "suburb": (8, 15), "ring_radial": (10, 18), "rural": (6, 14), "highway": (14, 28),
  "roundabout": (16, 28), "apron": (10, 18),
}  # fmt: skip
_VEHICLES = (40, 200)
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
  seed: int,
  scenes_per_domain: int,
  steps: int,
  dt: float,
  driver_noise: float,
  domains: Sequence[str] = DOMAINS,
  weathers: Sequence[str] = (),
) -> list[SumoJob]:
  """Jobs with distinct seeds; a job depends on its domain and number, not on how many others there are.

  weathers: of a domain's worlds, in turn; none: drawn, mostly clear.
  """
  if unknown := sorted(set(weathers) - _WEATHER.keys()):
    raise BadInput(f"unknown weather {unknown[0]!r}", "source sumo", f"choose from {', '.join(_WEATHER)}")
  jobs = []
  for domain in domains:
    if domain not in DOMAINS:
      raise BadInput(f"unknown domain {domain!r}", "source sumo", f"choose from {', '.join(DOMAINS)}")
    for k in range(scenes_per_domain):
      own = (seed * 1_000_000 + k) * len(DOMAINS) + DOMAINS.index(domain)
      rng = np.random.default_rng([own, 0])
      drawn = str(rng.choice(list(_WEATHER), p=[share for share, _ in _WEATHER.values()]))
      weather = weathers[k % len(weathers)] if weathers else drawn
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
  with running(job, step) as (sim, world, demand):
    vehicles, version = demand.vehicles, sim.getVersion()[1]
    log = record(sim, demand, world, demand.rng, job.steps, step, stride, WARM_UP)
  return schema.validate(_scene(job, world, demand, log, vehicles, version), _identity(job))


@contextlib.contextmanager
def running(job: SumoJob, step: float) -> Iterator[tuple[Any, SumoMap, Demand]]:
  """The simulation of a job with its map and its demand, started at steps of `step` s, closed at the end."""
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
      yield sim, world, Demand(sim, world, job.domain, types, demand_rng, vehicles)
    finally:
      sim.close()


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


def _scene(
  job: SumoJob, world: SumoMap, demand: Demand, log: Recording, vehicles: int, version: str
) -> Scene:
  driving = log.driving_TxA
  course = log.course_TxA.copy()
  course[driving] = sumo_tracks.lane_courses(world.lanes, log.lane_TxA[driving], log.arc_TxA[driving])
  front, lane = sumo_tracks.smooth_lane_changes(
    log.front_TxAx2, course, np.where(driving, log.lane_TxA, -1), world.lanes, job.dt
  )
  first = course[log.valid_TxA.argmax(0), np.arange(len(log.names))]
  heading = sumo_tracks.headings(front, log.valid_TxA, first, log.size_Ax2[:, 0])
  ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
  order = _ego_first(log)
  valid = log.valid_TxA[:, order]

  def of(values_TxA, dtype):
    """Chosen agents' values, zero where not valid."""
    chosen = values_TxA[:, order]
    return np.where(valid.reshape(*valid.shape, *[1] * (chosen.ndim - 2)), chosen, 0).astype(dtype)

  tracks = {
    "position_TxAx2": of(front - 0.5 * log.size_Ax2[None, :, :1] * ahead, np.float32),
    "heading_TxA": of(heading, np.float32),
    "velocity_TxAx2": of(log.speed_TxA[..., None] * ahead, np.float32),
    "valid_TxA": valid,
    "lane_TxA": np.where(driving, lane, log.lane_TxA)[:, order],
    "size_Ax2": log.size_Ax2[order],
    "type_A": log.type_A[order],
    "signal_TxL": log.signal_TxL,
  }
  regime = schema.speed_regime(log.speed_TxA[:, order][valid])
  events = sumo_tracks.rare_events(tracks, log.arc_TxA[:, order], job.dt)
  routes = [demand.route_of[log.names[a]] for a in order]
  return Scene(
    metadata=_metadata(job, world, vehicles, version, regime, events),
    lanes=world.lanes,
    track_A=order.astype(np.int64),
    route=np.array([road for route in routes for road in route], np.int32),
    route_splits=np.cumsum([0, *map(len, routes)]).astype(np.int32),
    **tracks,
  )


def _ego_first(log: Recording) -> np.ndarray:
  """Agents in order of appearance, after the car seen longest (of those, the one driven furthest)."""
  frames, travelled = log.valid_TxA.sum(0), log.speed_TxA.sum(0)
  ego = int(np.lexsort((travelled, frames, log.type_A == schema.AgentType.CAR))[-1])
  rest = np.flatnonzero(frames >= MIN_FRAMES)
  return np.concatenate([[ego], rest[rest != ego]])


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
    start_s=WARM_UP,
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
