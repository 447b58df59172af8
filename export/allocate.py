"""Which products need their bits: python -m export.allocate --run=W --share=0.2 --out=FILE.

Every product is quantised alone: as INT8, and with weights of 8 or 4 bits beside float activations; and the run's own
loss says what that costs, with its error over scenes. Bits are then chosen for all of them so that the summed cost is
least within --share of the bytes of the float weights. FILE gets both; export.build --recipe=FILE makes the artifact.
"""

import dataclasses
import pathlib

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_DATASET = flags.DEFINE_string(
  "dataset", "", "Where the dataset it was trained on lies now, if it has been moved."
)
_OUT = flags.DEFINE_string("out", None, "JSON file with the table and the recipe.", required=True)
_SHARE = flags.DEFINE_float("share", 0.2, "Bytes of the weights, over those in float32.", lower_bound=0.0)
_RECORDS = flags.DEFINE_integer("records", 256, "Records to measure losses on.", lower_bound=1)
_SMOOTH = flags.DEFINE_enum("smooth", "weights", ["none", "weights", "inputs"], "As of export.build.")
_METHOD = flags.DEFINE_string("method", "percentile", "How ranges are chosen.")
_CALIBRATE = flags.DEFINE_integer("calibrate", 64, "Records to calibrate on.", lower_bound=1)
_SPLIT = flags.DEFINE_string("split", "train", "Their split: not the one that artifacts are judged on.")


def main() -> int:
  from data.errors import BadInput
  from data.files import require_directory, write_json_atomic
  from experiments import run as runs
  from export import allocation, candidates, recipe_file, sensitivity

  out = pathlib.Path(_OUT.value)
  require_directory(out.parent, "--out")
  run = runs.open_run(_RUN.value, _DATASET.value)
  if _SPLIT.value == run.config.data.eval_split:
    raise BadInput("is the split that artifacts are judged on", f"--split={_SPLIT.value}", "choose another")
  found = candidates.prepare(
    run, runs.deployed(run), _SPLIT.value, _CALIBRATE.value, _METHOD.value, _SMOOTH.value
  )
  batches, scene_R = candidates.scene_batches(run, _SPLIT.value, _RECORDS.value)
  rows = sensitivity.scan(found.losses(batches), found.groups, found.candidates, scene_R)
  float_bytes = 4 * sum(weight.size for weight in found.twin.weights.values())
  budget = int(_SHARE.value * float_bytes)
  recipe = allocation.allocated(rows, found.candidates, found.twin.weights, budget)
  print(sensitivity.table(rows))
  print(f"\n{'product':<56}bits")
  for group in found.groups:
    print(
      f"{sensitivity.title(group):<56}{recipe.of(group[0]).bits}, {recipe.of(group[0]).activation} activations"
    )
  spent = allocation.recipe_bytes(recipe, found.twin.weights)
  print(f"{spent:,} bytes of weights, {spent / float_bytes:.3f} of float32")
  sensitivities = {"sensitivity": [dataclasses.asdict(row) for row in rows]}
  write_json_atomic(out, sensitivities | recipe_file.as_json(recipe, found.moves))
  print(out)
  return 0


if __name__ == "__main__":
  program.run(main)
