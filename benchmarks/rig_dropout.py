"""A sensor fails: python -m benchmarks.rig_dropout --dataset=build/clips --workdir=build/rig_dropout.

A world model predicts the BEV classes of the next step from LiDAR, camera and the ego's state. It is trained twice per
seed, without and with sensor dropout, and judged held out with all its sensors and with one of them missing:

  ratio = (loss with dropout, one missing - all there) / (loss without dropout, one missing - all there)

Beside it stands what needs no sensor: how frequent each class is in each cell of the training clips.

Run again to continue. Leaves WORKDIR/rig_dropout.csv, a row per seed and missing sensor, and rig_dropout.png.
"""

import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import blind_cells, seeded_runs
from experiments import program

_DATASET, _WORKDIR, _SEEDS = seeded_runs.define("Dataset of clips, by data.render.", "Pairs of models.")
_TOKENS = flags.DEFINE_integer("tokens", 1_000_000, "Tokens of clips that a model is trained on.", 1000)
_DROP = flags.DEFINE_float("drop", 0.3, "Probability that a training clip lacks a sensor.", 0.01, 1.0)

MISSING = ("camera", "lidar")
NAMES = {"camera": "camera", "lidar": "LiDAR"}
MODELS = ("plain", "dropout")
METRIC = "occupancy"  # nats per cell of the next step


def main() -> int:
  from data.files import require_directory
  from experiments.progress import Progress

  work = require_directory(_WORKDIR.value, "--workdir")
  train, judged = (blind_cells.cells(_DATASET.value, split)[:, 1:] for split in ("train", "validation"))
  blind = blind_cells.blind(train, judged)["place"]["nats"]
  print(f"class frequencies of each cell: {blind:.4f} nats")
  rows: list[dict] = []
  with Progress(_SEEDS.value * len(MODELS), "models", unit="model") as bar:
    for seed in range(_SEEDS.value):
      found = {}
      for model, drop in zip(MODELS, (0.0, _DROP.value), strict=True):
        found[model] = _losses(work / f"{model}_{seed}", seed, drop)
        bar.update(1)
      rows += [_line(seed, name, found) for name in MISSING]
      seeded_runs.write(work / "rig_dropout.csv", rows)
      draw(rows, blind, work / "rig_dropout.png")
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


def draw(rows: list[dict], blind: float, path: pathlib.Path) -> None:
  """Loss of every model with all its sensors and without each, beside what needs no sensor."""
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from scaling.figures.theme import BLUE, INK, ORANGE, STYLE

  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(4.4, 2.8), layout="constrained")
    axes = figure.add_subplot()
    last = len(MISSING)
    for model, colour, shift, label in (
      ("plain", ORANGE, -0.04, "trained with\nall sensors"),
      ("dropout", BLUE, 0.04, "trained with\nsensor dropout"),
    ):
      ends = []
      for seed in sorted({row["seed"] for row in rows}):
        own = {row["missing"]: row for row in rows if row["seed"] == seed}
        values = [own[MISSING[0]][f"{model}_all"], *(own[name][f"{model}_missing"] for name in MISSING)]
        places = [place + shift for place in range(len(values))]
        axes.plot(places, values, "o-", color=colour, linewidth=0.7)
        ends.append(values[-1])
      axes.text(last + 0.15, sum(ends) / len(ends), label, color=colour, va="center")
    axes.axhline(blind, color=INK, linestyle="--", linewidth=0.8)
    axes.text(last + 0.15, blind - 0.002, "class frequencies\nof each cell", va="top")
    axes.set_xticks(range(1 + last), ["all sensors", *(f"no {NAMES[name]}" for name in MISSING)])
    axes.set_xlim(-0.3, last + 1.0)
    axes.set_ylabel("occupancy of the next step,\nnats per cell, held out")
    axes.set_title("A line for each seed", loc="left", fontweight="normal")
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
  program.run(main)
