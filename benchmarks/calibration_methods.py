"""Which range of its activations INT8 should cover: what every method costs the task, run by run.

  python benchmarks/calibration_methods.py --runs=build/run0,build/run1 --dataset=build/sumo \
    --out=results/quantisation/methods.json

Static INT8 products by each method of export/ranges.py, unsigned (ONNX Runtime) and signed (TensorRT), calibrated on
the same training records and judged on the same held-out ones by the quantised twin. Costs are nats over the float
model, and over what `mse` costs, paired; errors over scenes.
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def measured(path: str, given: argparse.Namespace) -> dict:
  """{"unsigned": {method: {"over_float": [nats, error], "over_mse": [nats, error]}}, "signed": ...}."""
  from experiments import run as runs
  from export import calibration, judge, ranges
  from export.adjustable import Adjustable, record_losses
  from export.candidates import scene_batches
  from export.exportable import of_batch
  from export.recipe import Recipe
  from export.sensitivity import increase

  run = runs.open_run(path, given.dataset)
  exported = of_batch(*runs.deployed(run))
  observed = calibration.observe(exported, judge.records_of_split(run, "train", given.calibrate))
  batches, scene_R = scene_batches(run, run.config.data.eval_split, given.records)
  twin = Adjustable(exported)
  measure = record_losses(run.task, run.params, run.weights, twin)

  def losses(recipe: Recipe):
    return measure(twin.settings(recipe), batches)["loss"]

  before = losses(Recipe({}, {}))
  found: dict = {}
  for name, signed in (("unsigned", False), ("signed", True)):
    told = {
      method: losses(calibration.static_recipe(observed, method, signed, 8, {})) for method in ranges.METHODS
    }
    found[name] = {
      method: {
        "over_float": increase(own, before, scene_R),
        "over_mse": increase(own, told["mse"], scene_R),
      }
      for method, own in told.items()
    }
  print(path, json.dumps(found), flush=True)
  return found


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--runs", required=True)
  parser.add_argument("--dataset", required=True)
  parser.add_argument("--out", required=True)
  parser.add_argument("--records", type=int, default=512)
  parser.add_argument("--calibrate", type=int, default=64)
  given = parser.parse_args()
  found = {pathlib.Path(path).name: measured(path, given) for path in given.runs.split(",")}
  pathlib.Path(given.out).write_text(json.dumps(found, indent=1) + "\n")
  return 0


if __name__ == "__main__":
  sys.exit(main())
