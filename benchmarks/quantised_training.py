"""Training with quantised products against quantising afterwards, for as many further steps: motion models.

  python benchmarks/quantised_training.py --runs=build/run0,build/run1,build/run2 --dataset=build/sumo --tokens=200000 \
    --work=build/qat --out=results/quantisation/training.json

Every run goes on for --tokens in float, with INT8 products and with weights of 4 bits (experiments.fine_tune, the same
rate and order of records). The float one is then quantised, calibrated anew. Losses are of the same held-out records,
differences paired, their errors over scenes. Fine-tuned runs that are there already are not trained again.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def recipes(run, calibrate: int, method: str):
  """{name: recipe} of float, INT8 and weights of 4 bits, and the twin to ask about them; nothing is smoothed."""
  from experiments import run as runs
  from export import calibration, judge
  from export.adjustable import Adjustable
  from export.exportable import forward
  from export.recipe import Recipe, Site

  model, weights, example = runs.deployed(run)
  exported = forward(model.apply, weights, example)
  observed = calibration.observe(exported, judge.records_of_split(run, "train", calibrate))
  eight = calibration.static_recipe(observed, method, False, 8, {})
  four = Recipe(dict.fromkeys(eight.sites, Site(4, "float")), {})
  return {"float": Recipe({}, {}), "int8": eight, "int4": four}, Adjustable(exported)


def trained(base: str, given: argparse.Namespace) -> dict[str, pathlib.Path]:
  """The runs that went on from `base`, by what their products were."""
  from experiments import run as runs
  from export import recipe_file

  found = {}
  made = None
  for name in ("float", "int8", "int4"):
    workdir = pathlib.Path(given.work) / f"{pathlib.Path(base).name}_{name}"
    found[name] = workdir
    if (workdir / "result.json").exists():
      continue
    made = made or recipes(runs.open_run(base, given.dataset), given.calibrate, given.method)[0]
    file = workdir.with_suffix(".recipe.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    recipe_file.keep(file, made[name], [])
    command = [sys.executable, "-m", "experiments.fine_tune", f"--run={base}", f"--dataset={given.dataset}"]
    command += [
      f"--workdir={workdir}",
      f"--recipe={file}",
      f"--tokens={given.tokens}",
      f"--rate={given.rate}",
    ]
    subprocess.run(command, check=True)
  return found


def compared(base: str, given: argparse.Namespace) -> dict:
  """Losses after either way, and their differences by domain."""
  from experiments import run as runs
  from export import recipe_file
  from export.adjustable import record_losses
  from export.candidates import scene_batches
  from export.sensitivity import increase

  paths = trained(base, given)
  losses: dict = {}
  for name, path in paths.items():
    run = runs.open_run(str(path), given.dataset)
    batches, scene_R = scene_batches(run, run.config.data.eval_split, given.records)
    made, twin = recipes(run, given.calibrate, given.method)
    measure = record_losses(run.task, run.params, run.weights, twin)
    if name == "float":
      for kind, recipe in made.items():
        losses[f"{kind}, afterwards"] = measure(twin.settings(recipe), batches)["loss"]
    else:
      recipe, _ = recipe_file.read(path / "recipe.json")
      losses[f"{name}, trained"] = measure(twin.settings(recipe), batches)["loss"]
  domain_R = np.concatenate([batch["domain_B"] for batch in batches])
  result: dict = {"loss": {name: float(s.sum() / n.sum()) for name, (s, n) in losses.items()}, "gain": {}}
  for kind in ("int8", "int4"):
    pair = losses[f"{kind}, afterwards"], losses[f"{kind}, trained"]
    own = {"all": increase(*pair, scene_R)}
    for i, domain in enumerate(run.dataset.domains):
      here = domain_R == i
      if here.any():
        own[domain] = increase(*(tuple(value[here] for value in one) for one in pair), scene_R[here])
    result["gain"][kind] = own
  print(base, json.dumps(result), flush=True)
  return result


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--runs", required=True)
  parser.add_argument("--dataset", required=True)
  parser.add_argument("--work", required=True)
  parser.add_argument("--out", required=True)
  parser.add_argument("--tokens", type=int, default=200_000)
  parser.add_argument("--rate", type=float, default=0.3)
  parser.add_argument("--records", type=int, default=512)
  parser.add_argument("--calibrate", type=int, default=64)
  parser.add_argument("--method", default="percentile")
  given = parser.parse_args()
  result = {base: compared(base, given) for base in given.runs.split(",")}
  named = {pathlib.Path(base).name: own for base, own in result.items()}
  asked = {key: value for key, value in vars(given).items() if key in ("tokens", "rate", "records", "method")}
  pathlib.Path(given.out).write_text(json.dumps({"asked": asked, "runs": named}, indent=1) + "\n")
  return 0


if __name__ == "__main__":
  sys.exit(main())
