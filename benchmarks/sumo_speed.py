"""How fast simulated logs are made: vehicle-steps per CPU-second and wall time on two processes.

  python benchmarks/sumo_speed.py [--scenes=2] [--steps=240] [--dt=0.5] [--processes=2]

A vehicle-step is one vehicle (pedestrians left out) in one frame of a finished scene. The time includes building
the networks, demand, warm-up, read-out and checking; frames of the warm-up do not count. Prints one JSON line.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from data import sumo
from data.schema import AgentType

TARGET = 100_000  # vehicle-steps


def measure(job: sumo.SumoJob) -> tuple[str, int, float]:
  """Domain, vehicle-steps and CPU-seconds (children included) of one scene."""
  start = _cpu()
  scene = sumo.simulate(job)
  vehicles = scene.valid_TxA & (scene.type_A != AgentType.PEDESTRIAN)
  return job.domain, int(vehicles.sum()), _cpu() - start


def _cpu() -> float:
  usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
  return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _load(_: int) -> None:
  import libsumo  # noqa: F401


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--scenes", type=int, default=2, help="per domain")
  parser.add_argument("--steps", type=int, default=240)
  parser.add_argument("--dt", type=float, default=0.5)
  parser.add_argument("--processes", type=int, default=2)
  args = parser.parse_args()
  jobs = sumo.plan(0, args.scenes, args.steps, args.dt, 0.1)
  jobs = sorted(jobs, key=lambda job: job.seed)  # domains take turns
  context = multiprocessing.get_context("spawn")
  cold = time.perf_counter()
  with concurrent.futures.ProcessPoolExecutor(args.processes, mp_context=context) as pool:
    list(pool.map(_load, range(args.processes)))
    start, reached, total, cpu = time.perf_counter(), None, 0, 0.0
    by_domain: dict[str, list[float]] = {}
    for domain, steps, seconds in pool.map(measure, jobs):
      total, cpu = total + steps, cpu + seconds
      sums = by_domain.setdefault(domain, [0, 0.0])
      sums[0], sums[1] = sums[0] + steps, sums[1] + seconds
      if reached is None and total >= TARGET:
        reached = time.perf_counter()
    wall = time.perf_counter() - start
  report = {
    "benchmark": "sumo_speed",
    "vehicle_steps": total,
    "vehicle_steps_per_cpu_s": round(total / cpu),
    "by_domain": {name: round(steps / seconds) for name, (steps, seconds) in by_domain.items()},
    "wall_s": round(wall, 2),
    "wall_s_for_100000": None if reached is None else round(reached - start, 2),
    "wall_s_for_100000_with_start_up": None if reached is None else round(reached - cold, 2),
    "processes": args.processes,
    "frames": args.steps,
    "dt": args.dt,
    "scenes": len(jobs),
  }
  print(json.dumps(report))


if __name__ == "__main__":
  main()
