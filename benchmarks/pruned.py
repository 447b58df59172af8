"""How to choose what is pruned: python -m benchmarks.pruned --run=build/run --dataset=build/sumo --workdir=W.

A finished motion model is cut to the same smaller shape by each method, seed by seed, and recovers while it follows the
whole one; "steps" goes there in two, each by taylor with half of the moves. "fresh" has that shape, teacher and budget
too, and begins with random weights. A seed draws the order of the moves and what goes at random. Run again to continue.
Leaves W/pruned.csv, a row per run: held-out nats per move as it was cut, and after it has recovered.
"""

import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import seeded_runs
from experiments import program

_DATASET, _WORKDIR, _SEEDS = seeded_runs.define(
  "Dataset of simulated windows, by data.build.", "Runs by each method."
)
_RUN = flags.DEFINE_string("run", None, "Finished run of a motion model.", required=True)
_HEADS = flags.DEFINE_integer("heads", 1, "Heads that stay in every block.", lower_bound=1)
_HIDDEN = flags.DEFINE_integer("hidden", 44, "Units that stay in every MLP.", lower_bound=1)
_TOKENS = flags.DEFINE_integer("tokens", 300_000, "Moves of a recovery.", lower_bound=1000)
_RATE = flags.DEFINE_float(
  "rate", 0.5, "Times the learning rate of a run from scratch of so many moves.", 0.0
)
_METHODS = flags.DEFINE_list("methods", ["taylor", "magnitude", "random", "fresh", "steps"], "Which.")

FIELDS = ("method", "seed", "heads", "hidden", "tokens", "flops_per_token", "cut", "loss", "run_id")


def main() -> int:
  from data.files import require_directory
  from experiments.progress import Progress

  work = require_directory(_WORKDIR.value, "--workdir")
  work.mkdir(parents=True, exist_ok=True)
  rows: list[dict] = []
  with Progress(_SEEDS.value * len(_METHODS.value), "runs", unit="run") as bar:
    for seed in range(_SEEDS.value):
      for method in _METHODS.value:
        rows.append(recovered(work, method, seed))
        seeded_runs.write(work / "pruned.csv", rows)
        bar.update(1)
  print(work / "pruned.csv")
  return 0


def recovered(work: pathlib.Path, method: str, seed: int) -> dict:
  """The row of one run; "steps" makes the run before it first."""
  from data.files import read_json, write_json_atomic
  from experiments.config import from_dict

  start, tokens = _RUN.value, _TOKENS.value
  if method == "steps":
    start, tokens = str(work / f"halfway_{seed}"), _TOKENS.value // 2
    seeded_runs.train(pathlib.Path(start), config(seed, tokens, _RUN.value, "taylor", halfway=True))
  by = {"steps": "taylor", "fresh": "refuse"}.get(method, method)
  chosen = config(seed, tokens, "" if method == "fresh" else start, by)
  out = work / f"{method}_{seed}"
  found = work / f"{method}_{seed}.cut.json"
  if not found.exists():
    write_json_atomic(found, as_cut(from_dict(chosen.to_dict())))
  row = seeded_runs.train(out, chosen)
  facts = read_json(found, "delete it and run again")
  values = (method, seed, _HEADS.value, _HIDDEN.value, row["tokens"], facts["flops_per_token"], facts["loss"])
  return dict(zip(FIELDS, (*values, row["loss"], row["run_id"]), strict=True))


def config(seed: int, tokens: int, start: str, by: str, halfway: bool = False):
  """A run that follows the whole one. halfway: to a shape between its own and the one that is asked for."""
  from experiments.configs import motion_distil
  from experiments.run_directory import read_config

  whole = read_config(_RUN.value)["model"]
  made = seeded_runs.motion(motion_distil.get_config("w32"), _DATASET.value, seed, tokens, _RATE.value)
  heads = whole["heads"] or whole["width"] // whole["head_dim"]
  units = whole["hidden"] or 4 * whole["width"]
  shape = {"heads": _HEADS.value, "hidden": _HIDDEN.value}
  if halfway:
    shape = {"heads": (heads + _HEADS.value + 1) // 2, "hidden": (units + _HIDDEN.value) // 2}
  made.model.update(whole | shape)
  made.loss.teacher = _RUN.value
  made.start.update({"run": start, "other_shapes": by})
  return made


def as_cut(config) -> dict:
  """Held-out loss before the first step, and what an answer costs."""
  from data import datasets
  from experiments import evaluate, pruning, run
  from experiments.setup import make_setup

  setup = make_setup(config, datasets.open_dataset(config.data.dataset))
  flops, loss = setup.task.model.config.flops_per_token(), None
  if config.start.run:
    left, _ = pruning.pruned(run.open_run(config.start.run, mesh=setup.mesh), setup)
    split = config.data.eval_split
    loss = evaluate.evaluate(setup.task, setup.dataset, setup.mesh, {"student": left}, split)["loss"]
  return {"loss": loss, "flops_per_token": flops}


if __name__ == "__main__":
  program.run(main)
