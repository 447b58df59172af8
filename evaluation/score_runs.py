"""Runs scored by how they forecast and by how they drive: python -m evaluation.score_runs --sweeps=W,... --out=DIR.

Every finished run of the sweeps (scaling/sweep.py) meets the same held-out scenes and drives the same vehicles in the
same simulated worlds, which no dataset has seen, so that runs differ by what they have learned alone. Writes
OUT/scores.csv (evaluation/driving/score_table.py), which `python -m scaling.metric_law` fits:
minADE, minFDE and miss rate of the best of --samples futures of moving agents; score, progress and rates of broken
rules in closed loop. Run the same command again to continue: OUT/pieces holds what is done, a run's forecasts or the
drives of all runs in a world; worlds in which a drive failed are driven again. A run whose forecasts are no numbers is
named, and has no rows of them.
"""

import pathlib
from typing import Any

from absl import flags

from experiments import program

_SWEEPS = flags.DEFINE_list("sweeps", None, "Directories of sweeps, separated by commas.", required=True)
_DATASET = flags.DEFINE_string(
  "dataset", "", "Where the dataset they were trained on lies now, if it has been moved."
)
_OUT = flags.DEFINE_string("out", None, "Directory for the results.", required=True)
_PIECES = flags.DEFINE_integer("pieces", 4, "Moments of each scene at which forecasts begin; 0: none.", 0)
_SAMPLES = flags.DEFINE_integer("samples", 6, "K: sampled futures.", lower_bound=2)
_DOMAINS = flags.DEFINE_list("domains", [], "Domains to drive in; empty: all of them.")
_WORLDS = flags.DEFINE_integer("worlds", 4, "Worlds per domain; 0: none.", lower_bound=0)
_EGOS = flags.DEFINE_integer("egos", 12, "Vehicles driven at a time in each world.", 1, 64)
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Length of an episode.", lower_bound=1.0)
_SEED = flags.DEFINE_integer("seed", 1000, "Seed of worlds and samples; worlds of datasets start at 0.", 0)
_MOVES = flags.DEFINE_string("moves", "expected", "Which move a policy makes (evaluation/driving/policy.py).")
_WORKERS = flags.DEFINE_integer("workers", 2, "Worker processes.", lower_bound=1)

_OBSERVED, _HORIZON, _NOISE = 3.0, 3.0, 0.1  # s, s, imperfection of simulated drivers as in datasets


def main() -> int:
  import dataclasses
  import logging

  from data import sumo
  from data.errors import BadInput
  from data.files import read_json, require_directory, write_json_atomic
  from evaluation.driving import policy, rounds, score_table
  from evaluation.driving.workers import in_workers
  from experiments import run as runs
  from experiments.progress import Progress

  out = require_directory(_OUT.value, "--out")
  if _MOVES.value not in policy.MOVES:
    raise BadInput(f"no such kind of move: {_MOVES.value!r}", "--moves", f"choose {', '.join(policy.MOVES)}")
  opened = [runs.open_run(str(path), _DATASET.value) for path in finished(_SWEEPS.value)]
  policies = {run.row["run_id"]: policy.policy_of(run, _SEED.value) for run in opened}
  asked: dict[str, Any] = {
    flag.name: flag.value for flag in (_PIECES, _SAMPLES, _EGOS, _SECONDS, _SEED, _MOVES)
  }
  asked |= {"runs": sorted(policies), "dataset": opened[0].dataset.fingerprint}
  if any(run.dataset.fingerprint != asked["dataset"] for run in opened):
    raise BadInput("were trained on different datasets", "--sweeps", "score each alone, or give --dataset")
  notes = opened[0].dataset.manifest["notes"]
  if notes.get("source") == "sumo" and notes["arguments"]["seed"] == _SEED.value:
    raise BadInput("drives in the worlds of the dataset", f"--seed={_SEED.value}", "choose another")
  pieces = out / "pieces"
  if (pieces / "asked.json").exists() and read_json(pieces / "asked.json", "remove it") != asked:
    raise BadInput("holds pieces of other runs, or made with other flags", out, "choose another --out")
  write_json_atomic(pieces / "asked.json", asked)

  rows: list[Any] = []
  cases = None
  diverged = 0
  with Progress(len(opened), "forecasts", unit="run") as bar:
    for run in opened if _PIECES.value else ():
      place = pieces / f"run-{run.row['run_id']}.json"
      if not place.exists():
        cases = cases or held_out(opened[0], _PIECES.value)
        found: dict[str, Any] = {"left_out": cases.left_out, "faults": cases.faults}
        try:
          made = forecasts(run, cases, _SAMPLES.value, _SEED.value)
        except BadInput as error:  # the others are scored all the same
          found |= {"rows": [], "diverged": str(error)}
        else:
          found |= {"rows": [dataclasses.astuple(row) for row in made]}
        write_json_atomic(place, found)
      kept = read_json(place, "remove it")
      rows += [score_table.Row(*row) for row in kept["rows"]]
      if why := kept.get("diverged"):
        logging.warning("no forecasts of a run: %s", why)
        diverged += 1
      bar.update(1)

  jobs = sumo.plan(_SEED.value, _WORLDS.value, 1, 0.1, _NOISE, tuple(_DOMAINS.value) or sumo.DOMAINS)
  drivers = tuple(f"{name}:{_MOVES.value}" for name in policies)
  steps = round(_SECONDS.value * 10)
  places = {job: pieces / f"world-{job.seed}.json" for job in jobs}
  left = [rounds.Round(job, _EGOS.value, steps, drivers) for job in jobs if not whole(places[job])]
  with Progress(len(left), "drives", unit="world") as bar:
    for k, found, why in in_workers(
      rounds.drive_world, left, _WORKERS.value, rounds.use_policies, (policies,)
    ):
      if found is None:
        logging.warning("%s, world %d: %s", left[k].job.domain, left[k].job.seed, why)
      else:
        write_json_atomic(places[left[k].job], {"episodes": found})
      bar.update(1)
  missing = [place for place in places.values() if not place.exists()]
  if missing:
    raise program.Fault(f"{len(missing)} of {len(jobs)} worlds could not be driven; run the command again")
  episodes = [e for place in places.values() for e in read_json(place, "remove it")["episodes"]]
  score_table.write(out / "scores.csv", rows + score_table.of_episodes(episodes))
  failed = sum(episode["end"].startswith(rounds.FAILED) for episode in episodes)
  print(f"{len(policies)} runs, {len(jobs)} worlds, {len(episodes)} episodes, {failed} that failed")
  if diverged:
    print(f"{diverged} runs have no forecasts")
  print(out / "scores.csv")
  return 0


def finished(sweeps: list[str]) -> list[pathlib.Path]:
  """Run directories with a result, by name; raises BadInput when there is none."""
  from data.errors import BadInput

  found = [path.parent for sweep in sweeps for path in pathlib.Path(sweep, "runs").glob("*/result.json")]
  if not found:
    raise BadInput("holds no finished run", ", ".join(sweeps), "let the sweep finish at least one")
  return sorted(found, key=lambda path: path.name)


def whole(place: pathlib.Path) -> bool:
  """Whether a world's episodes are kept there and none of them failed."""
  from data.files import read_json
  from evaluation.driving.rounds import FAILED

  return place.exists() and not any(
    episode["end"].startswith(FAILED) for episode in read_json(place, "remove it")["episodes"]
  )


def held_out(run, pieces: int) -> Any:
  """Forecasting cases of the evaluation split."""
  from evaluation.forecasting.cases import make_cases

  scenes = run.dataset.scenes(run.config.data.eval_split)
  return make_cases(scenes, run.dataset.window, _OBSERVED, _HORIZON, pieces)


def forecasts(run, cases, samples: int, seed: int) -> list[Any]:
  """Rows of a run's forecast errors for moving agents; raises BadInput for forecasts that are not finite."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from evaluation.driving import score_table
  from evaluation.finite import require_finite
  from evaluation.forecasting.rollout import futures
  from evaluation.metrics import displacement

  numbers = range(1, samples + 1)
  dt = run.dataset.window.dt
  sampled = futures(run.task.model.apply, run.weights, run.task.to_batch, cases, dt, numbers, seed)
  truth, history = jnp.asarray(cases.truth_BxAxNx2), jnp.asarray(cases.history_BxHxAx2)
  valid = jnp.broadcast_to(jnp.asarray(cases.scored_BxA)[..., None], truth.shape[:3])
  moving = jax.vmap(displacement.moving)(history[:, -1], truth, valid)
  errors = jax.jit(jax.vmap(displacement.forecast_errors, (1, 0, 0, 0)))(sampled, truth, valid, moving)
  totals = {f"{name}_{samples}": np.asarray(total) for name, (total, _) in errors.items()}
  counts = np.asarray(errors["minADE"][1])
  whose = cases.domain_B.tolist(), cases.scene_B.tolist()
  rows = score_table.of_forecasts(run.row["run_id"], totals, counts, *whose)
  require_finite({f"{row.metric} of {row.cluster}": row.value for row in rows}, run.path)
  return rows


if __name__ == "__main__":
  program.run(main)
