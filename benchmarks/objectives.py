"""Whether every objective's features hold more than random weights do: tiny runs, three seeds, linear probes.

  python benchmarks/objectives.py --clips=build/sim_pair --windows=build/sim --workdir=build/objectives \
    [--codes=build/codes] [--only=masked,jepa] [--out=results/objectives]

Every objective is trained on simulated logs with three seeds. The run itself probes its features before the first
step and after the last one (experiments/probes.py): the same network, the same probe, the same clips, fitted on
training scenes and scored on validation scenes. The margin is the difference. STUDIES names one target for each
objective, chosen before the runs: what it should know about the road; the table has all of them. Beside it stands
the objective's own loss on validation scenes, before and after.

The world model of codes ("codes") reads what experiments.encode made of the clips, and is left out without it.

What is finished is kept; processes with different --only may share a workdir. With --out, what is finished becomes
OUT.csv and a figure in OUT; objectives of which the workdir has nothing stay in OUT.csv as they are.
"""

import argparse
import csv
import dataclasses
import json
import pathlib
import runpy
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import seeded_runs
from data.files import read_json, write_json_atomic
from evaluation.probing.targets import inputs

PROBED = 500  # clips of either split at most
CLIPS = {"model.sensors": "ego,raster,lidar", "tokens": 200_000, "optimizer.learning_rate": 0.005}
# One patch for each 16 x 16 cells: 17 tokens a step, and about 100 steps in 110,000 tokens.
DRIVING = {"model.grid_patch": 16, "tokens": 110_000, "optimizer.learning_rate": 0.005}
SAMPLED = DRIVING | {"loss.samples": 2}
CELLS = SAMPLED | {"tokens": 220_000}
TAUGHT = CLIPS | {"loss.momentum": 0.95}  # so few steps need a teacher that follows faster
CODES = {"tokens": 6_500_000, "data.batch_windows": 4}
WORLD = {"model.width": 16, "model.head_dim": 8, "tokens": 400_000}
SMALL = {"model.width": 16, "model.layers": 1, "model.head_dim": 16}


@dataclasses.dataclass(frozen=True)
class Study:
  """config: FILE:variant below experiments/configs. target: of the probe (evaluation/probing/targets.py)."""

  config: str
  target: str
  overrides: dict
  data: str = "clips"
  seeds: tuple = (0, 1, 2)


STUDIES = {
  "masked": Study("perception.py:masked:tiny", "occupancy", CLIPS),
  "jepa": Study("perception.py:jepa:tiny", "occupancy", TAUGHT),
  "contrastive": Study("perception.py:contrastive:tiny", "occupancy", CLIPS | {"loss.views": "raster,lidar"}),
  "self_distillation": Study("perception.py:self_distillation:tiny", "occupancy", TAUGHT),
  "multi_task": Study("driving.py:multi_task:tiny", "occupancy", DRIVING | {"model.sensors": "ego,lidar"}),
  "policy": Study("driving.py:policy:tiny", "displacement", DRIVING),
  "flow": Study("driving.py:flow:tiny", "displacement", SAMPLED),
  "diffusion": Study("driving.py:diffusion:tiny", "displacement", SAMPLED),
  "flow_cells": Study("driving.py:flow_cells:tiny", "occupancy", CELLS),
  "diffusion_cells": Study("driving.py:diffusion_cells:tiny", "occupancy", CELLS),
  "vq": Study("tokeniser.py:tiny", "domain", CODES, seeds=(1, 2, 3)),  # its target was chosen on seed 0
  "fsq": Study("tokeniser.py:fsq", "domain", CODES | SMALL),
  "next_token": Study("motion.py:tiny", "acceleration", {}, "windows"),
  "codes": Study("codes.py:bev", "domain", WORLD, "codes"),
}


def measure(name: str, seed: int, dataset: str, root: pathlib.Path) -> None:
  """Trains one run below `root`, and adds first.json: the held-out loss before the first step."""
  from data.datasets import open_dataset
  from experiments import config as configs
  from experiments.evaluate import evaluate
  from experiments.setup import make_setup

  path, study = root / f"{name}_{seed}", STUDIES[name]
  if (path / "first.json").exists():
    return
  file, _, variant = study.config.partition(":")
  holder = runpy.run_path(str(pathlib.Path("experiments/configs") / file))["get_config"](variant)
  always = {"seed": seed, "data.dataset": dataset, "probe.every_steps": 1_000_000, "probe.records": PROBED}
  holder.update_from_flattened_dict(study.overrides | always)
  seeded_runs.train(path, holder)
  config = configs.from_dict(holder.to_dict())
  setup = make_setup(config, open_dataset(dataset))
  params = setup.init(setup.key)["params"]
  first = evaluate(setup.task, setup.dataset, setup.mesh, params, config.data.eval_split)
  write_json_atomic(path / "first.json", {"loss": first["loss"]})


def rows(root: pathlib.Path) -> list[dict]:
  """One row per finished run and target of the probe: score before and after, margin, held-out loss.

  "input": the model reads what is asked; only the margin counts there (evaluation/probing/targets.py).
  """
  found = []
  for name, study in STUDIES.items():
    for seed in study.seeds:
      path = root / f"{name}_{seed}"
      if not (path / "first.json").exists():
        continue
      row, config = (read_json(path / file, "delete the run") for file in ("result.json", "config.json"))
      read = inputs(config["family"], config["model"].get("sensors", "").split(","))
      metrics = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
      random = next(one["scores"] for one in metrics if one.get("event") == "probe" and one["step"] == 0)
      for target, score in sorted(row["probes"].items()):
        found.append(
          {
            "objective": name,
            "seed": seed,
            "target": target,
            "main": target == study.target,
            "input": target in read,
            "random": round(random[target], 4),
            "trained": round(score, 4),
            "margin": round(score - random[target], 4),
            "loss_random": round(read_json(path / "first.json", "delete it")["loss"], 4),
            "loss_trained": round(row["loss"], 4),
            "steps": row["steps"],
            "params": row["params_total"],
          }
        )  # fmt: skip
  return found


def merged(table: list[dict], path: pathlib.Path) -> list[dict]:
  """The rows, and those of a table made before whose objective has none among them; in the order of STUDIES."""
  fresh = {row["objective"] for row in table}
  kept = [row for row in read(path) if row["objective"] not in fresh] if path.exists() else []
  return sorted(kept + table, key=lambda row: list(STUDIES).index(row["objective"]))


def read(path: pathlib.Path) -> list[dict]:
  """Rows as `rows` makes them."""

  def value(text: str):
    try:
      return json.loads(text.lower())
    except json.JSONDecodeError:
      return text

  with open(path, newline="", encoding="utf-8") as file:
    return [{name: value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def summary(table: list[dict]) -> list[dict]:
  """One row per objective: mean, deviation over finished seeds and least of the main target's margin."""
  found = []
  for name, study in STUDIES.items():
    mine = [row for row in table if row["objective"] == name and row["main"]]
    if not mine:
      continue
    margins = [row["margin"] for row in mine]
    mean = {
      key: statistics.mean(row[key] for row in mine)
      for key in ("random", "trained", "margin", "loss_random", "loss_trained")
    }
    sd = statistics.stdev(margins) if len(margins) > 1 else None
    spread = {"seeds": len(margins), "sd": sd, "least": min(margins)}
    found.append({"objective": name, "target": study.target} | mean | spread)
  return found


def draw(table: list[dict], path: pathlib.Path) -> None:
  """Random against trained scores of the main target, a mark for each seed."""
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from scaling.figures import theme

  means = summary(table)
  with mpl.rc_context(theme.STYLE):
    figure = Figure(figsize=(theme.WIDTH, 0.8 + 0.26 * len(means)), layout="constrained")
    axes = figure.add_subplot()
    for y, mean in enumerate(means):
      mine = [row for row in table if row["objective"] == mean["objective"] and row["main"]]
      ends, label = [mean["random"], mean["trained"]], "margin of the means" if not y else None
      axes.plot(ends, [y, y], color=theme.RULE, linewidth=3, zorder=1, label=label)
      for kind, colour, mark in (("random", theme.SOFT, "|"), ("trained", theme.BLUE, "o")):
        label = {"random": "random weights", "trained": "trained"}[kind] if not y else None
        scores = [row[kind] for row in mine]
        axes.plot(
          scores, [y] * len(scores), mark, color=colour, markersize=7 if mark == "|" else 4, label=label
        )
      spread = "one seed" if mean["sd"] is None else f"± {mean['sd']:.2f} ({mean['seeds']})"
      text = f"{mean['margin']:+.2f} {spread}"
      axes.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=7.5)
    names = [f"{mean['objective']}: {mean['target']}".replace("_", " ") for mean in means]
    axes.set_yticks(range(len(means)), names)
    axes.invert_yaxis()
    axes.set_xlabel("score of a linear probe on scenes it was not fitted on (R²; domain: accuracy)")
    axes.annotate("margin (seeds)", (1.01, -0.9), xycoords=("axes fraction", "data"), va="center", fontsize=7.5,
                  color=theme.SOFT)  # fmt: skip
    axes.grid(axis="x", color=theme.RULE, linewidth=0.5)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, columnspacing=1.5)
    theme.finish(figure, "a mark for each seed; margin: mean and standard deviation over seeds")
    theme.save_pictures(figure, path, png=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--clips", required=True, help="Dataset of clips, made by data.render.")
  parser.add_argument("--windows", required=True, help="Dataset of windows, made by data.build.")
  parser.add_argument("--codes", default="", help="Dataset of codes, made by experiments.encode.")
  parser.add_argument("--workdir", required=True, type=pathlib.Path, help="Where the runs are.")
  parser.add_argument("--only", default=",".join(STUDIES), help="Objectives to run, with commas; '': none.")
  parser.add_argument("--out", type=pathlib.Path, help="Directory of the figure; the table is OUT.csv.")
  asked = parser.parse_args()
  if asked.only:
    import jax

    # Seeds differ by a key only.
    jax.config.update("jax_compilation_cache_dir", str(asked.workdir / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    for name in asked.only.split(","):
      if not getattr(asked, STUDIES[name].data):
        print(f"{name} is left out: it needs --{STUDIES[name].data}")
        continue
      for seed in STUDIES[name].seeds:
        measure(name, seed, getattr(asked, STUDIES[name].data), asked.workdir)
        print(name, seed, flush=True)
  if asked.out:
    table = merged(rows(asked.workdir), asked.out.with_suffix(".csv"))
    asked.out.mkdir(parents=True, exist_ok=True)
    seeded_runs.write(asked.out.with_suffix(".csv"), table)
    draw(table, asked.out / "objectives")
    print(json.dumps(summary(table), indent=1))


if __name__ == "__main__":
  main()
