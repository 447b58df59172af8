"""What a ladder's runs lose to few bits: python -m export.ladder --sweeps=W,... --out=DIR [--profile=PROFILE.toml].

Every finished run of the sweeps (scaling/sweep.py) answers the same held-out records in float32, as static INT8
(weights and activations: onnx_int8) and with weights of a few bits beside float activations, always by the quantised
twin in JAX: artifacts equal it to 1e-3 (export/verify.py), so that no runtime is needed for each of them. Nothing is
smoothed.

Writes DIR/scores.csv (scaling/metric_scores.py): the loss of each run, recipe and scene, nats per token. And
DIR/costs.csv: for each size and recipe the bytes of its constants and, on the platform of --profile, the modelled
latency and joules of an answer (export/budget.py). `python -m scaling.precision_law` reads both.
"""

import csv
import io
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from absl import flags

from experiments import program

_SWEEPS = flags.DEFINE_list(
  "sweeps", None, "Directories of sweeps, or of runs, separated by commas.", required=True
)
_DATASET = flags.DEFINE_string(
  "dataset", "", "Where the dataset they were trained on lies now, if it has been moved."
)
_OUT = flags.DEFINE_string("out", None, "Directory for the two tables.", required=True)
_BITS = flags.DEFINE_list("bits", ["8", "6", "5", "4", "3"], "Of weights beside float activations.")
_METHOD = flags.DEFINE_string("method", "percentile", "How ranges of INT8 activations are chosen.")
_CALIBRATE = flags.DEFINE_integer("calibrate", 32, "Records to calibrate INT8 on.", lower_bound=1)
_SPLIT = flags.DEFINE_string("calibration_split", "train", "Their split.")
_RECORDS = flags.DEFINE_integer("records", 512, "Held-out records to judge on.", lower_bound=1)
_PROFILE = flags.DEFINE_string(
  "profile", "export/profiles/jetson_orin_nano_super.toml", "Platform of latency and joules."
)

FLOAT, INT8, WEIGHTS = "float32", "int8", "weights"  # names of recipes; WEIGHTS goes before a number of bits


def main() -> int:
  from data.errors import BadInput
  from data.files import require_directory, write_text_atomic
  from experiments import run as runs
  from experiments.progress import Progress
  from export import budget, quantisers
  from export.ranges import METHODS

  out = require_directory(_OUT.value, "--out")
  if _METHOD.value not in METHODS:
    raise BadInput(f"no method {_METHOD.value!r}", "--method", f"choose from {', '.join(METHODS)}")
  for bits in _BITS.value:
    if bits not in map(str, quantisers.WEIGHTS):
      known = ", ".join(map(str, quantisers.WEIGHTS))
      raise BadInput(f"no weights of {bits!r} bits", "--bits", f"choose from {known}")
  profile = budget.read_profile(_PROFILE.value)
  paths = finished(_SWEEPS.value)
  scores: list[dict[str, Any]] = []
  costs: dict[tuple, list[dict[str, Any]]] = {}
  measures: dict[tuple, Any] = {}
  data = ""
  with Progress(len(paths), "runs", unit="run") as bar:
    for path in paths:
      run = runs.open_run(str(path), _DATASET.value)
      if _SPLIT.value == run.config.data.eval_split:
        raise BadInput(
          "is the split that runs are judged on", f"--calibration_split={_SPLIT.value}", "choose another"
        )
      data = data or run.dataset.fingerprint
      if run.dataset.fingerprint != data:
        raise BadInput("was trained on another dataset", path, "judge ladders of one dataset together")
      scores += judged(run, runs.deployed(run), costs, measures, profile)
      bar.update(1)
  write_text_atomic(out / "scores.csv", as_csv(scores))
  write_text_atomic(out / "costs.csv", as_csv([row for rows in costs.values() for row in rows]))
  print(out / "scores.csv")
  print(out / "costs.csv")
  return 0


def finished(sweeps: list[str]) -> list[pathlib.Path]:
  """Run directories with a result, by name; raises BadInput when there is none."""
  from data.errors import BadInput

  found = [
    path.parent
    for sweep in sweeps
    for where in ("result.json", "runs/*/result.json")
    for path in pathlib.Path(sweep).glob(where)
  ]
  if not found:
    raise BadInput("holds no finished run", ", ".join(sweeps), "let the sweep finish at least one")
  return sorted(found, key=lambda path: path.name)


def recipes(exported: Any, calibrating: list[dict]) -> dict[str, Any]:
  """By name, float32 first."""
  from export import calibration
  from export.recipe import Recipe, Site

  observed = calibration.observe(exported, calibrating)
  made = {FLOAT: Recipe({}, {}), INT8: calibration.static_recipe(observed, _METHOD.value, False, 8, {})}
  for bits in map(int, _BITS.value):
    made[f"{WEIGHTS}{bits}"] = Recipe(dict.fromkeys(observed, Site(bits, "float")), {})
  return made


def judged(run: Any, deployed: tuple, costs: dict, measures: dict, profile: Any) -> list[dict[str, Any]]:
  """Rows of scores.csv of one run. costs, measures: by shape; a shape that is not there yet is added."""
  from export import judge
  from export.adjustable import Adjustable, record_losses
  from export.candidates import scene_batches
  from export.exportable import of_batch

  model, weights, example = deployed
  exported = of_batch(model, weights, example)
  made = recipes(exported, judge.records_of_split(run, _SPLIT.value, _CALIBRATE.value))
  twin, shape = Adjustable(exported), model.config
  if shape not in measures:
    measures[shape] = record_losses(run.task, run.params, run.weights, twin)
    costs[shape] = priced(exported, made, model.config.non_embedding_params(), profile)
  batches, scene_R = scene_batches(run, run.config.data.eval_split, _RECORDS.value)
  import numpy as np

  domain_R = np.concatenate([batch["domain_B"] for batch in batches])
  rows = []
  for name, recipe in made.items():
    sums_R, counts_R = measures[shape](twin.settings(recipe), batches, exported.weights)["loss"]
    for scene in np.unique(scene_R).tolist():
      here = scene_R == scene
      row = {"run_id": run.row["run_id"], "metric": name, "slice": run.dataset.domains[domain_R[here][0]]}
      row |= {"cluster": scene, "value": f"{sums_R[here].sum() / counts_R[here].sum():.7g}"}
      rows.append(row | {"count": int(counts_R[here].sum())})
  return rows


def priced(exported: Any, made: Mapping[str, Any], params: int, profile: Any) -> list[dict[str, Any]]:
  """Rows of costs.csv of one shape: `bits` of its weights, 32 for float ones."""
  from export import budget, onnx_capture

  graph = onnx_capture.capture(exported)
  rows = []
  for name, recipe in made.items():
    sites = list(recipe.sites.values())
    bits = sites[0].bits if sites else 32
    cost = budget.modelled(graph, recipe if sites else None, profile)
    rows.append({"params": params, "recipe": name, "bits": bits} | {k: f"{v:.6g}" for k, v in cost.items()})
  return rows


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
  rows, text = list(rows), io.StringIO()
  writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  return text.getvalue()


if __name__ == "__main__":
  program.run(main)
