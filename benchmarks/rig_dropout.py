"""A sensor fails: python -m benchmarks.rig_dropout --dataset=build/clips --workdir=build/rig_dropout.

A world model predicts the BEV classes of the next step from LiDAR, camera and the ego's state. It is trained twice per
seed, without and with sensor dropout, and judged held out with all its sensors and with one of them missing:

  ratio = (loss with dropout, one missing - all there) / (loss without dropout, one missing - all there)

Run again to continue. Leaves WORKDIR/rig_dropout.csv, a row per seed and missing sensor, and rig_dropout.png.
"""

import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import seeded_runs
from experiments import program

_DATASET, _WORKDIR, _SEEDS = seeded_runs.define("Dataset of clips, by data.render.", "Pairs of models.")
_TOKENS = flags.DEFINE_integer("tokens", 1_000_000, "Tokens of clips that a model is trained on.", 1000)
_DROP = flags.DEFINE_float("drop", 0.3, "Probability that a training clip lacks a sensor.", 0.01, 1.0)

MISSING = ("camera", "lidar")
MODELS = ("plain", "dropout")
METRIC = "occupancy"  # nats per cell of the next step


def main() -> int:
  from data.files import require_directory
  from experiments.progress import Progress

  work = require_directory(_WORKDIR.value, "--workdir")
  rows = []
  with Progress(_SEEDS.value * len(MODELS), "models", unit="model") as bar:
    for seed in range(_SEEDS.value):
      found = {}
      for model, drop in zip(MODELS, (0.0, _DROP.value), strict=True):
        found[model] = _losses(work / f"{model}_{seed}", seed, drop)
        bar.update(1)
      rows += [_line(seed, name, found) for name in MISSING]
      seeded_runs.write(work / "rig_dropout.csv", rows)
      _draw(rows, work / "rig_dropout.png")
  print(work / "rig_dropout.csv")
  return 0


def _losses(out: pathlib.Path, seed: int, drop: float) -> dict[str, float]:
  """Held-out nats per cell with "all" sensors and without each, of a run made now or made before."""
  import dataclasses

  from experiments import mesh, run
  from experiments.configs import driving
  from experiments.evaluate import evaluate
  from experiments.tasks import perception

  config = driving.get_config("occupancy:tiny")
  config.seed, config.tokens, config.loss.drop = seed, _TOKENS.value, drop
  config.model.grid_patch = config.loss.patch = 16
  config.loss.ahead = 1
  config.optimizer.learning_rate = 0.01
  config.data.dataset, config.data.batch_windows = _DATASET.value, 8
  seeded_runs.train(out, config)
  trained = run.open_run(str(out))
  task, sensors = trained.task, trained.task.model.config.perception

  def held_out(params, batch, key):
    rigs = {"all": batch} | {name: perception.without(sensors, name, batch) for name in MISSING}
    found = {name: task.held_out(params, rig, key)[METRIC] for name, rig in rigs.items()}
    return found | {"loss": found["all"]}

  devices = mesh.make_mesh(1, 1, 1, 1)
  split = trained.config.data.eval_split
  judged = evaluate(
    dataclasses.replace(task, held_out=held_out), trained.dataset, devices, trained.params, split
  )
  return judged["by_slice"]


def _line(seed: int, missing: str, found: dict[str, dict[str, float]]) -> dict:
  row: dict = {"seed": seed, "missing": missing}
  for model in MODELS:
    row[f"{model}_all"], row[f"{model}_missing"] = found[model]["all"], found[model][missing]
    row[f"{model}_increase"] = found[model][missing] - found[model]["all"]
  return row | {"ratio": row["dropout_increase"] / row["plain_increase"]}


def _draw(rows: list[dict], path: pathlib.Path) -> None:
  """Loss of every model with all its sensors and without each."""
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from scaling.figures.theme import BLUE, ORANGE, STYLE

  labels = {"plain": "trained with all sensors", "dropout": "trained with sensor dropout"}
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(3.6, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for model, colour, shift in (("plain", ORANGE, -0.04), ("dropout", BLUE, 0.04)):
      for seed in sorted({row["seed"] for row in rows}):
        own = {row["missing"]: row for row in rows if row["seed"] == seed}
        values = [own[MISSING[0]][f"{model}_all"], *(own[name][f"{model}_missing"] for name in MISSING)]
        places = [place + shift for place in range(len(values))]
        axes.plot(places, values, "o-", color=colour, linewidth=0.7, label=labels[model] if seed == 0 else "")
    axes.set_xticks(range(1 + len(MISSING)), ["all sensors", *(f"no {name}" for name in MISSING)])
    axes.set_xlim(-0.3, len(MISSING) + 0.3)
    axes.set_ylabel("occupancy, nats per cell")
    axes.legend()
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
  program.run(main)
