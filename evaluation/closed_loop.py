"""A trained policy drives in simulated traffic: python -m evaluation.closed_loop --run=W --out=DIR.

In worlds that no dataset has seen, several vehicles at a time are taken over from the simulation and driven by the
run's motion model; all others are SUMO's drivers and react. The same vehicles are driven by constant velocity, by
lane-keeping IDM and by replaying what their own drivers did. Writes OUT/closed_loop.json with scores, intervals and the
worst slices, and OUT/episodes.jsonl with every episode of every driver; what went wrong is named there and counted.
A monitor of rules (evaluation/safety/envelope.py) runs beside every driver, with two sets of constants, and only says
when it would have taken over; what came of it is in closed_loop.json. OUT/pictures has a figure of every failure of
the policy and, of every world, a film of its worst episode.
"""

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_DATASET = flags.DEFINE_string(
  "dataset", "", "Where the dataset it was trained on lies now, if it has been moved."
)
_OUT = flags.DEFINE_string("out", None, "Directory for the results.", required=True)
_DOMAINS = flags.DEFINE_list("domains", [], "Domains to drive in; empty: all of them.")
_WORLDS = flags.DEFINE_integer("worlds", 4, "Worlds per domain.", lower_bound=1)
_EGOS = flags.DEFINE_integer("egos", 16, "Vehicles driven at a time in each world.", 1, 64)
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Length of an episode.", lower_bound=1.0)
_SEED = flags.DEFINE_integer("seed", 1000, "Seed of the worlds; those of datasets start at 0.", lower_bound=0)
_MOVES = flags.DEFINE_list(
  "moves",
  ["expected"],
  "Which of the moves it deems possible a policy makes: expected, guided, likeliest, sampled. The first is the policy;"
  " those after it are reported beside the baselines.",
)
_PICTURES = flags.DEFINE_bool("pictures", True, "Whether to draw failures and film the worst episodes.")
_WORKERS = flags.DEFINE_integer("workers", 2, "Worker processes.", lower_bound=1)

_NOISE = 0.1  # imperfection of simulated drivers, as datasets have by default


def main() -> int:
  import dataclasses
  import json

  from data import sumo
  from data.errors import BadInput
  from data.files import require_directory, write_json_atomic, write_text_atomic
  from evaluation.driving import rounds
  from evaluation.driving.policy import MOVES, policy_of
  from evaluation.driving.table import world_faults
  from experiments import run as runs

  out = require_directory(_OUT.value, "--out")
  jobs = sumo.plan(_SEED.value, _WORLDS.value, 1, 0.1, _NOISE, tuple(_DOMAINS.value) or sumo.DOMAINS)
  run = runs.open_run(_RUN.value, _DATASET.value)
  notes = run.dataset.manifest["notes"]
  if notes.get("source") == "sumo" and _SEED.value == notes["arguments"]["seed"]:
    raise BadInput(
      f"{_SEED.value} is that of the dataset's worlds", "--seed", "drive where nobody was trained"
    )
  for moves in _MOVES.value:
    if moves not in MOVES:
      raise BadInput(f"no such kind of move: {moves!r}", "--moves", f"choose from {', '.join(MOVES)}")
  drivers = (*(f"{rounds.POLICY}:{moves}" for moves in _MOVES.value), *rounds.BASELINES)
  steps = round(_SECONDS.value * 10)
  drawn = str(out / "pictures") if _PICTURES.value else ""
  jobs = sorted(jobs, key=lambda job: job.seed)  # domains take turns
  tasks = [rounds.Round(job, _EGOS.value, steps, drivers, drawn) for job in jobs]
  out.mkdir(parents=True, exist_ok=True)
  # Written as they come: if this is stopped, what has been driven can be read, until the next run.
  with open(out / "episodes.jsonl", "w", encoding="utf-8") as file:

    def keep(rows: list[dict[str, Any]]) -> None:
      file.writelines(json.dumps(row) + "\n" for row in rows)
      file.flush()

    policies = {rounds.POLICY: policy_of(run, _SEED.value)}
    found = drive_all(tasks, policies, _WORKERS.value, keep)
  result = report(found, drivers) | {
    "episodes_asked": len(tasks) * _EGOS.value,  # a world may have fewer vehicles that can be taken over
    "world_faults": world_faults(found),
    "films": films(found, drivers[0]) if drawn else [],
    "run": run.row["run_id"],
    "seed": _SEED.value,
    "egos": _EGOS.value,
    "seconds": _SECONDS.value,
    "moves": _MOVES.value,
    "jobs": [dataclasses.asdict(job) for job in jobs],
  }
  write_text_atomic(out / "episodes.jsonl", "".join(json.dumps(row) + "\n" for row in found))
  write_json_atomic(out / "closed_loop.json", result)
  print(table(result))
  print(out / "closed_loop.json")
  for name in drivers:
    ends = [row["end"] for row in found if row["driver"] == name]
    if ends and all(end.startswith(rounds.FAILED) for end in ends):
      raise program.Fault(f"{name} could not drive a single episode: {ends[0]}")
  return 0


def drive_all(tasks: list, policies: dict[str, Any], workers: int, keep: Callable) -> list[dict[str, Any]]:
  """The episodes of all worlds, in the order of the worlds; `keep` is given those of each as they come."""
  import dataclasses
  import logging

  from evaluation.driving import rounds
  from evaluation.driving.workers import in_workers
  from experiments.progress import Progress

  found: dict[int, list[dict[str, Any]]] = {}
  dead = []
  with Progress(len(tasks), "closed loop", unit="world") as bar:
    for k, rows, why in in_workers(rounds.drive_world, tasks, workers, rounds.use_policies, (policies,)):
      found[k] = rows or []
      keep(found[k])
      dead += [(k, dataclasses.replace(tasks[k], drivers=(name,))) for name in tasks[k].drivers if why]
      bar.update(1)
  # One driver may have taken the others' episodes with it: each is tried alone.
  alone = [task for _, task in dead]
  for j, rows, why in in_workers(rounds.drive_world, alone, workers, rounds.use_policies, (policies,)):
    found[dead[j][0]] += rounds.lost(alone[j], why) if rows is None else rows
  order = {name: place for place, name in enumerate(tasks[0].drivers)}
  rows = [row for k in sorted(found) for row in sorted(found[k], key=lambda row: order[row["driver"]])]
  for row in rows:
    if row["end"].startswith(rounds.FAILED):
      logging.warning("%s, world %d, %s: %s", row["domain"], row["seed"], row["driver"], row["end"])
  return rows


def report(found: list[dict[str, Any]], drivers: Sequence[str]) -> dict[str, Any]:
  """closed_loop.json but for its provenance; the first of the drivers is the policy, the others are beside it."""
  from evaluation.driving.table import by_domain, difference, summary, worst_slices

  own = {name: [row for row in found if row["driver"] == name] for name in drivers}
  parts = {name: summary(rows) | {"by_domain": by_domain(rows)} for name, rows in own.items()}
  policy = parts.pop(drivers[0])
  less = {
    name: {
      domain: difference(
        *([r for r in own[who] if domain in ("all", r["domain"])] for who in (drivers[0], name))
      )
      for domain in ("all", *policy["by_domain"])
    }
    for name in parts
  }
  return policy | {"worst_slices": worst_slices(own[drivers[0]]), "baselines": parts, "policy_less": less}


def films(found: list[dict[str, Any]], driver: str) -> list[str]:
  """Files in OUT/pictures: of every world the episode with the lowest score, the lowest of all first."""
  worst: dict[int, dict[str, Any]] = {}
  for row in found:
    if row["driver"] == driver and not row["end"].startswith("failed"):
      worst[row["seed"]] = min(worst.get(row["seed"], row), row, key=lambda row: row["score"])
  rows = sorted(worst.values(), key=lambda row: row["score"])
  return [f"{row['domain']}-{row['seed']}-{row['ego']}.html" for row in rows]


def table(result: dict[str, Any]) -> str:
  """What the program prints: the worst slices first, then every domain beside the baselines."""
  from evaluation.driving.scores import RATES, TERMS

  lines = ["worst slices of the policy"]
  lines += [f"  {row['slice']:<44}{_scored(row)}  ({row['episodes']})" for row in result["worst_slices"][:5]]
  names = list(result["baselines"])
  lines += ["", f"{'score':<18}" + "".join(f"{name:>24}" for name in ("policy", *names))]
  for domain in (*result["by_domain"], "all"):
    parts = [result, *(result["baselines"][name] for name in names)]
    cells = [part if domain == "all" else part["by_domain"].get(domain, {"score": None}) for part in parts]
    lines.append(f"{domain:<18}" + "".join(f"{_scored(part):>24}" for part in cells))
  parts = [result, *(result["baselines"][name] for name in names)]
  for term in (*RATES, *(term for term in TERMS[1:] if term not in RATES.values())):
    shown = ["-" if part.get(term) is None else f"{part[term]:.3f}" for part in parts]
    lines.append(f"{term:<18}" + "".join(f"{one:>24}" for one in shown))
  for kind in result["monitor"]:
    shown = [_watched(part["monitor"][kind]) if kind in part["monitor"] else "-" for part in parts]
    lines.append(f"{f'monitor, {kind}':<18}" + "".join(f"{one:>24}" for one in shown))
  lines.append("  of the monitor: share of episodes it takes over, contacts ahead hit/missed, false alarms")
  lines.append(
    f"{result['episodes']} of {result['episodes_asked']} episodes had a vehicle; ends: {result['ends']}"
  )
  lines.append(f"of the worlds themselves: {result['world_faults'] or 'no faults'}")
  return "\n".join(lines)


def _watched(part: dict[str, Any]) -> str:
  counts = part["counts"]
  return f"{part['takes_over']:.2f} {counts['hits']}/{counts['misses']} {counts['false_alarms']}"


def _scored(part: dict[str, Any]) -> str:
  if part["score"] is None:
    return "-"
  interval = "[one world]" if part["ci95"] is None else "[{:.3f}, {:.3f}]".format(*part["ci95"])
  return f"{part['score']:.3f} {interval}"


if __name__ == "__main__":
  program.run(main)
