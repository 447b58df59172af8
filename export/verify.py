"""Is an export what it says, and does it answer as its run? python -m export.verify --artifact=DIR [--run=W].

Hashes every file, refuses links and what the manifest does not list, asks for a signature with --public_key, opens
every artifact, lints what TensorRT will read and, with --run, compares answers with the checkpoint's on held-out
records. Exit 1 when an artifact answers otherwise than its manifest says.
"""

import pathlib
import statistics
from collections.abc import Callable, Collection

from absl import flags

from experiments import program

_ARTIFACT = flags.DEFINE_string("artifact", None, "Directory that export.build has made.", required=True)
_RUN = flags.DEFINE_string("run", "", "The run it was exported from: answers are compared with it.")
_DATASET = flags.DEFINE_string("dataset", "", "Where that run's dataset lies now, if it has been moved.")
_PUBLIC_KEY = flags.DEFINE_string("public_key", "", "Of who must have signed the export, PEM.")
_RECORDS = flags.DEFINE_integer("records", 16, "Held-out records to compare on.", lower_bound=1)


def main() -> int:
  from export import manifest, signature
  from export.targets import TARGETS

  root = pathlib.Path(_ARTIFACT.value)
  if _PUBLIC_KEY.value:
    signature.check(root, _PUBLIC_KEY.value)
    print(f"signed by the owner of {_PUBLIC_KEY.value}")
  found = manifest.read(root)
  made = {name: own for name, own in found["targets"].items() if "failed" not in own}
  answers, wrong = {}, broken_rules(root, made)
  for name in made:
    try:
      answers[name] = TARGETS[name].open(root / name, 1)
      print(f"{name}: files are as listed, and it opens")
    except Exception as error:  # of whatever runtime; the others are still to be looked at
      wrong.append(f"{name} does not open: {type(error).__name__}: {' '.join(str(error).split())}")
  if _RUN.value:
    wrong += compare(found, answers)
  for line in wrong:
    print(line)
  return 1 if wrong else 0


def broken_rules(root: pathlib.Path, made: Collection[str]) -> list[str]:
  """A line for every rule of TensorRT that its artifact breaks."""
  if "tensorrt_int8" not in made:
    return []
  import onnx

  from export.lint import lint

  model = onnx.load(root / "tensorrt_int8" / "model.onnx")
  return [f"tensorrt_int8: {found.node} {found.what}" for found in lint(model)]


def compare(found: dict, answers: dict) -> list[str]:
  """A line for every artifact that is further from the run than its manifest allows.

  Raises BadInput for a run of another configuration or of other weights.
  """
  from data.errors import BadInput
  from experiments import run as runs
  from export import judge, manifest, smoothing
  from export.decoding import exportables
  from export.recipe import Recipe
  from export.reference import reference
  from export.verdict import FLOAT_PARITY, untrue

  run = runs.open_run(_RUN.value, _DATASET.value)
  manifest.require_source(found, run)
  window, step = exportables(run.task, run.params, runs.deployed(run), found["what"])
  if found.get("weights_fingerprint") not in (None, manifest.weights_fingerprint(window.weights)):
    raise BadInput("has other weights than the run that was exported", _RUN.value, "give that one")
  moves = [smoothing.Move.from_json(move) for move in found["smoothing"]]
  records = judge.records_of_split(run, run.config.data.eval_split, _RECORDS.value)
  wrong = []
  for name, answer in answers.items():
    recipe = found["targets"][name]["recipe"]
    twin: Callable = window
    if recipe:
      twin = reference(smoothing.smoothed(step.exported if step else window, moves), Recipe.from_json(recipe))
    if step:
      answer, twin = step.window(answer), step.window(twin) if recipe else twin
    said = [answer(record) for record in records]
    from_twin = [judge.distance(one, twin(record)) for one, record in zip(said, records, strict=True)]
    worst = max(judge.distance(one, window(record)) for one, record in zip(said, records, strict=True))
    print(
      f"{name}: {statistics.median(from_twin):.2g} from what it should answer, {worst:.2g} from the checkpoint"
    )
    if told := untrue(from_twin, bool(recipe)):
      wrong.append(f"{name}: {told}")
    listed = found["targets"][name]["worst_sample"]
    if len(records) <= found["records"] and worst > 1.01 * listed + FLOAT_PARITY:
      wrong.append(
        f"{name} is further from its checkpoint than its manifest says: {worst:.2g}, not {listed:.2g}"
      )
  return wrong


if __name__ == "__main__":
  program.run(main)
