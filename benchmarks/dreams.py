"""Whether bad dreams make a policy collide less: arms of several training seeds, driven in the same unseen worlds.

  python benchmarks/dreams.py --arm=with=build/with0,build/with1,build/with2 --arm=without=build/without0,... \
    --dataset=build/dreams --worlds=4 --egos=8 --seed=6000 --out=results/dreams

Every run drives the same vehicles of the same worlds (evaluation/driving/rounds.py), expected moves, 20 s. Intervals
are those of worlds, domain by domain, and training seeds drawn again, one less of each than there are (J. Rao and
C. Wu, "Resampling Inference with Complex Survey Data", JASA 83, 1988), the same worlds for both arms.
OUT/episodes.jsonl keeps what has been driven: a second call goes on after it. Writes OUT/dreams.json.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

SECONDS, NOISE, DRAWS = 20.0, 0.1, 4000
MEANS = ("score", "progress", "time_to_collision", "lane_keeping")
Row = dict[str, Any]


def drive(arms: dict[str, list[str]], given: argparse.Namespace, path: pathlib.Path) -> None:
  """Appends the episodes of every world that is not in the file yet."""
  from data import sumo
  from evaluation.driving import rounds
  from evaluation.driving.policy import policy_of
  from experiments import run as runs

  done = {row["seed"] for row in read(path)}
  jobs = sumo.plan(given.seed, given.worlds, 1, 0.1, NOISE, given.domains or sumo.DOMAINS)
  places = {f"{arm} {k}": (arm, k) for arm, names in arms.items() for k in range(len(names))}
  rounds.use_policies(
    {name: policy_of(runs.open_run(arms[arm][k], given.dataset), seed=0) for name, (arm, k) in places.items()}
  )
  drivers = tuple(f"{name}:expected" for name in places)
  for job in jobs:
    if job.seed in done:
      continue
    rows = rounds.drive_world(rounds.Round(job, given.egos, round(SECONDS * 10), drivers))
    for row in rows:
      row["arm"], row["run"] = places[row["driver"].partition(":")[0]]
    with open(path, "a", encoding="utf-8") as file:
      file.writelines(json.dumps(row) + "\n" for row in rows)
    print(job.domain, job.seed, len(rows), flush=True)


def numbers() -> dict[str, Callable[[Row], float | None]]:
  """Name to what it is of an episode; None where it is not defined, as of one that could not be driven."""
  from evaluation.driving import rounds, scores

  def contact(row: Row) -> float | None:
    return None if row["end"].startswith(rounds.FAILED) else float(row["end"] == "contact")

  def rate(term: str) -> Callable[[Row], float | None]:
    return lambda row: None if row[term] is None else 1 - row[term]

  rates = {name: rate(term) for name, term in scores.RATES.items()}
  means = {name: lambda row, name=name: row[name] for name in MEANS}
  return {"contact_rate": contact} | rates | means


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def table(rows: list[Row], arms: list[str]) -> dict[str, Any]:
  """Of every arm the mean of each number, with its interval, of each run; the others less the last arm."""
  domains = {row["seed"]: row["domain"] for row in rows}
  worlds = sorted(domains)
  strata = [domains[world] for world in worlds]
  found: dict[str, Any] = {"worlds": len(worlds), "episodes_of_a_run": 0, "arms": {}, "less": {}}
  for name, value in numbers().items():
    drawn: dict[str, np.ndarray] = {}
    if all(value(row) is None for row in rows):
      continue  # a domain without lights
    for arm in arms:
      own = [row for row in rows if row["arm"] == arm and value(row) is not None]
      found["episodes_of_a_run"] = max(found["episodes_of_a_run"], sum(row["run"] == 0 for row in own))
      runs = 1 + max(row["run"] for row in own)
      total, count = np.zeros((2, runs, len(worlds)))
      place = np.array([[row["run"], worlds.index(row["seed"])] for row in own]).T
      np.add.at(total, tuple(place), [value(row) for row in own])
      np.add.at(count, tuple(place), 1.0)
      drawn[arm] = drawn_again(total, count, strata)
      each = (total.sum(1) / count.sum(1)).tolist()
      part = {"mean": total.sum() / count.sum(), "ci95": _interval(drawn[arm]), "runs": each}
      found["arms"].setdefault(arm, {})[name] = part
    for arm in arms[:-1]:
      less = found["arms"][arm][name]["mean"] - found["arms"][arms[-1]][name]["mean"]
      part = {"mean": less, "ci95": _interval(drawn[arm] - drawn[arms[-1]])}
      found["less"].setdefault(arm, {})[name] = part
  return found


def drawn_again(total_RxW: np.ndarray, count_RxW: np.ndarray, domain_W: list[str]) -> np.ndarray:
  """[DRAWS]: the mean over runs, and over worlds of each domain, drawn with replacement; of any arm the same worlds."""
  rng = np.random.default_rng(0)
  world = []
  for domain in dict.fromkeys(domain_W):
    own = np.flatnonzero(np.array(domain_W) == domain)
    # So many of a domain weigh as much as all of it.
    weight = len(own) / max(len(own) - 1, 1)
    world.append((rng.choice(own, (DRAWS, max(len(own) - 1, 1))), weight))
  runs = len(total_RxW)
  run = np.random.default_rng(1).integers(runs, size=(DRAWS, max(runs - 1, 1)))
  over, under = (
    sum(weight * part[run[:, :, None], chosen[:, None, :]].sum((1, 2)) for chosen, weight in world)
    for part in (total_RxW, count_RxW)
  )
  with np.errstate(invalid="ignore"):  # a draw without a light says nothing of lights
    return over / under


def _interval(values: np.ndarray) -> list[float]:
  return np.nanquantile(values, [0.025, 0.975]).tolist()


def main() -> None:
  from data.files import write_json_atomic

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument(
    "--arm", action="append", required=True, help="NAME=RUN,RUN,...; the last is compared with"
  )
  parser.add_argument("--dataset", default="", help="Where the runs' dataset lies now, if it has been moved.")
  parser.add_argument("--worlds", type=int, default=4, help="Per domain.")
  parser.add_argument("--domains", nargs="*", default=[], help="Those to drive in now; all by default.")
  parser.add_argument("--egos", type=int, default=8)
  parser.add_argument("--seed", type=int, default=6000)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  given = parser.parse_args()
  arms = {name: runs.split(",") for name, _, runs in (arm.partition("=") for arm in given.arm)}
  given.out.mkdir(parents=True, exist_ok=True)
  path = given.out / "episodes.jsonl"
  drive(arms, given, path)
  rows = read(path)
  result = table(rows, list(arms))
  result["by_domain"] = {
    domain: table([row for row in rows if row["domain"] == domain], list(arms))
    for domain in sorted({row["domain"] for row in rows})
  }
  write_json_atomic(given.out / "dreams.json", result)
  for name in result["arms"][next(iter(arms))]:
    shown = [result["arms"][arm][name] for arm in arms] + [
      result["less"][arm][name] for arm in list(arms)[:-1]
    ]
    print(
      f"{name:<20}" + "".join("{:>9.3f} [{:.3f}, {:.3f}]".format(one["mean"], *one["ci95"]) for one in shown)
    )


if __name__ == "__main__":
  main()
