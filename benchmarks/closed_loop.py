"""How fast egos are driven: ego-steps of 0.1 s per CPU-second, traffic and the policy's inference included.

  python -m benchmarks.closed_loop --run=W [--dataset=DIR] [--domains=a,b] [--egos=24] [--seconds=20] [--repeats=3]

An ego-step is one ego moved by one step: SUMO's step of the whole world, read-out, features of what the ego sees, the
model, the bicycle, contacts, recording. Building the world and letting its traffic settle is left out, as is scoring
afterwards. `alone` is one ego in the same worlds, `quiet` one ego in worlds with few others. The fastest of the repeats
counts, because whatever else runs on a shared machine only takes away. `raw` is SUMO alone, in vehicle-steps. Prints
one JSON line.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

from data import sumo
from data.sumo_live import STEP
from evaluation.driving import episodes, rounds
from evaluation.driving.policy import policy_of
from experiments import run as runs

QUIET = 0.1  # vehicles per kilometre of lane, and no fewer than a world always has


def ego_steps(job: sumo.SumoJob, egos: int, steps: int) -> tuple[int, float, int]:
  """Ego-steps, the CPU-seconds they took, and how many agents were there at the start."""
  driver = rounds.make_driver("policy:expected", egos, None)
  with episodes.started(job, egos, driver.watch) as start:
    agents = int(start.live.present_N.sum())
    begun = time.process_time()
    driven = episodes.drive(start, driver, "policy:expected", job, steps)
    return int(driven.alive_TxE[1:].sum()), time.process_time() - begun, agents


def raw(job: sumo.SumoJob, steps: int) -> tuple[int, float]:
  """Agents times steps of the simulation alone, and its CPU-seconds."""
  with episodes.started(job, 1, lambda live: None) as start:
    agents, begun = int(start.live.present_N.sum()), time.process_time()
    for _ in range(steps):
      start.live.sim.simulationStep()
    return agents * steps, time.process_time() - begun


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--run", required=True)
  parser.add_argument("--dataset", default="")
  parser.add_argument("--domains", default=",".join(sumo.DOMAINS))
  parser.add_argument("--egos", type=int, default=24)
  parser.add_argument("--seconds", type=float, default=20.0)
  parser.add_argument("--repeats", type=int, default=3)
  args = parser.parse_args()
  rounds.use_policies({rounds.POLICY: policy_of(runs.open_run(args.run, args.dataset), 0)})
  jobs, steps = sumo.plan(1000, 1, 1, STEP, 0.1, tuple(args.domains.split(","))), round(args.seconds / STEP)
  report: dict = {
    "benchmark": "closed_loop",
    "egos": args.egos,
    "seconds": args.seconds,
    "load": os.getloadavg()[0],
  }
  for egos in (args.egos, 1):  # compiled before it is timed
    ego_steps(jobs[-1], egos, 6)
  quiet = [dataclasses.replace(job, density=QUIET) for job in jobs]
  cases = {"together": (jobs, args.egos), "alone": (jobs, 1), "quiet": (quiet, 1)}
  for name, (worlds, egos) in cases.items():
    rates = {}
    for job in worlds:
      done = [ego_steps(job, egos, steps) for _ in range(args.repeats)]
      rates[job.domain] = min(done, key=lambda one: one[1])
    total, seconds = sum(one[0] for one in rates.values()), sum(one[1] for one in rates.values())
    by_domain = {domain: round(count / cpu) for domain, (count, cpu, _) in rates.items()}
    agents = {domain: there for domain, (_, _, there) in rates.items()}
    report[name] = {"ego_steps_per_cpu_s": round(total / seconds), "by_domain": by_domain, "agents": agents}
    print(name, report[name], file=sys.stderr, flush=True)
  alone = [min((raw(job, steps) for _ in range(args.repeats)), key=lambda one: one[1]) for job in jobs]
  report["raw_vehicle_steps_per_cpu_s"] = round(sum(one[0] for one in alone) / sum(one[1] for one in alone))
  print(json.dumps(report))


if __name__ == "__main__":
  main()
