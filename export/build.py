"""A trained run as artifacts for vehicles: python -m export.build --run=W --out=DIR [--targets=onnx_int8,...].

The run's deployed weights are captured once, calibrated on records of its training split and written for each target.
Every artifact then answers held-out records in the model's place: how far it is from the model in float and from its
quantised twin in JAX, what the run's own loss becomes, by domain, and how long an answer takes. DIR appears whole, with
DIR/manifest.json; a target that fails, or answers otherwise than its twin, is named there and leaves the others as they
are.

With --budget=PROFILE.toml (export/profiles) and any number of runs, the largest of them is exported whose quantised
artifacts keep the profile's limits, by the model of export/budget.py; if none does, it is said by how much.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_list(
  "run", None, "Run directory of a finished training; several, with --budget.", required=True
)
_BUDGET = flags.DEFINE_string("budget", "", "Hardware profile whose limits an artifact has to keep.")
_DATASET = flags.DEFINE_string(
  "dataset", "", "Where the dataset it was trained on lies now, if it has been moved."
)
_OUT = flags.DEFINE_string("out", None, "Directory for the artifacts; it must not exist.", required=True)
_TARGETS = flags.DEFINE_list("targets", [], "Which; empty: all of them.")
_WHAT = flags.DEFINE_enum(
  "what",
  "forward",
  ["forward", "decode_step"],
  "A whole window at a time, or one step of it with keys and values handed on.",
)
_OPSET = flags.DEFINE_integer("opset", 0, "Of ONNX files; 0: the one that every runtime here reads.")
_METHOD = flags.DEFINE_string(
  "method", "percentile", "How ranges are chosen: minmax, percentile, entropy or mse."
)
_SMOOTH = flags.DEFINE_enum(
  "smooth",
  "weights",
  ["none", "weights", "inputs"],
  "Where outliers may be moved into weights; inputs: there, too. With --recipe, as it was made.",
)
_RECIPE = flags.DEFINE_string("recipe", "", "Of export.allocate or of a fine-tuned run: onnx_int8 obeys it.")
_CALIBRATE = flags.DEFINE_integer("calibrate", 64, "Records to calibrate on.", lower_bound=1)
_CALIBRATION_SPLIT = flags.DEFINE_string("calibration_split", "train", "Their split.")
_JUDGE = flags.DEFINE_integer("judge", 128, "Held-out records to judge on.", lower_bound=1)
_CALLS = flags.DEFINE_integer("calls", 200, "Timed calls of every artifact.", lower_bound=1)
_SIGN_KEY = flags.DEFINE_string("sign_key", "", "Elliptic private key, PEM, that signs the export.")
_THREADS = flags.DEFINE_integer("threads", 1, "Threads of a runtime.", lower_bound=1)


def main() -> int:
  import shutil
  import tempfile

  from data.errors import BadInput
  from data.files import require_directory, write_json_atomic
  from experiments import run as runs
  from export import budget, manifest, signature
  from export.targets import TARGETS

  signer = signature.signer(_SIGN_KEY.value) if _SIGN_KEY.value else None
  out = require_directory(_OUT.value, "--out")
  if out.exists():
    raise BadInput("exists already", out, "give a new directory as --out, or remove it")
  chosen = list(dict.fromkeys(_TARGETS.value)) or list(TARGETS)
  for name in chosen:
    if name not in TARGETS:
      raise BadInput(f"no target {name!r}", "--targets", f"choose from {', '.join(TARGETS)}")
  if len(_RUN.value) != 1 and not _BUDGET.value:
    raise BadInput(f"{len(_RUN.value)} runs", "--run", "give one, or say what it has to fit by --budget")
  profile = budget.read_profile(_BUDGET.value) if _BUDGET.value else None
  opened = [runs.open_run(path, _DATASET.value) for path in _RUN.value]
  if profile:
    run, parts, records, costs = largest(opened, chosen, profile)
    if left := [name for name in chosen if name not in costs]:
      print(f"left out, as they are not quantised or do not fit {profile.name}: {', '.join(left)}")
    chosen = list(costs)
    for name in chosen:
      found = budget.operators(parts.graph, TARGETS[name].recipe(parts))
      print(f"{name} of {run.path} on {profile.name}, modelled: {budget.told(costs[name])}")
      print(budget.table(found, profile))
  else:
    (run,) = opened
    parts, records = prepare(run)
  out.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
    root = pathlib.Path(temporary) / "whole"
    root.mkdir()
    result = build(run, parts, records, chosen, root)
    if profile:
      result["budget"] = {"profile": profile.name, "limits": profile.limits, "modelled": costs}
    write_json_atomic(root / manifest.NAME, result)
    if signer:
      signature.sign(root, signer)
    shutil.move(root, out)
  print(table(result))
  print(out / manifest.NAME)
  return 0 if all("failed" not in own for own in result["targets"].values()) else program.FAULT


def largest(opened: list, chosen: list[str], profile) -> tuple[Any, Any, list[dict], dict]:
  """(run, parts, records, {target: modelled costs}): the most parameters of which a quantised target fits.

  Of that run's targets those that fit. Raises BadInput that says by how much nothing does.
  """
  import jax

  from data.errors import BadInput
  from export import budget
  from export.targets import TARGETS

  over: dict[str, dict[str, float]] = {}
  for run in sorted(opened, key=lambda run: -sum(x.size for x in jax.tree.leaves(run.weights))):
    parts, records = prepare(run)
    costs = {
      name: budget.modelled(parts.graph, TARGETS[name].recipe(parts), profile)
      for name in chosen
      if TARGETS[name].recipe(parts) is not None
    }
    if fits := budget.fitting(costs, profile):
      return run, parts, records, {name: costs[name] for name in fits}
    over |= {f"{name} of {run.path}": own for name, own in costs.items()}
  if not over:
    raise BadInput("none of them is quantised", "--targets", "a budget is for compressed ones")
  raise BadInput(
    f"nothing fits {profile.name}: {budget.nearest(over, profile)}", "--budget", "train a smaller one"
  )


def prepare(run) -> tuple[Any, list[dict]]:
  """(what targets are made of, held-out records each as a batch of one).

  Raises BadInput when the records to calibrate on are those to judge on, for weights that are not finite and for a
  model that has no counterpart in ONNX.
  """
  from data.errors import BadInput
  from experiments import run as runs
  from export import calibration, judge, onnx_capture, recipe_file, smoothing
  from export.decoding import exportables
  from export.ranges import METHODS
  from export.targets import Parts

  if _METHOD.value not in METHODS:
    raise BadInput(f"no method {_METHOD.value!r}", "--method", f"choose from {', '.join(METHODS)}")
  held_out = run.config.data.eval_split
  if _CALIBRATION_SPLIT.value == held_out:
    raise BadInput(
      "is the split that artifacts are judged on", f"--calibration_split={held_out}", "choose another"
    )
  window, step = exportables(run.task, run.params, runs.deployed(run), _WHAT.value)
  calibrating = judge.records_of_split(run, _CALIBRATION_SPLIT.value, _CALIBRATE.value)
  given = recipe_file.read(_RECIPE.value) if _RECIPE.value else None
  if given:
    recipe_file.check(window, *given)
    split = given[0].calibration.get("split")
    if split in (None, held_out):
      what = f"was calibrated on {f'the split {split!r}, to be judged on' if split else 'nobody knows what'}"
      raise BadInput(what, _RECIPE.value, "make it with export.allocate")
    moves = given[1]
  else:
    inputs = _SMOOTH.value == "inputs"
    moves = [] if _SMOOTH.value == "none" else smoothing.plan(window, calibrating, inputs)
  smooth = smoothing.smoothed(window, moves)
  step = step and dataclasses.replace(step, exported=smoothing.smoothed(step.exported, moves))
  exported = step.exported if step else smooth
  four = given is not None and any(site.bits == 4 for site in given[0].sites.values())
  opset = _OPSET.value or (onnx_capture.FOUR_BITS if four else onnx_capture.OPSET)
  graph = onnx_capture.capture(exported, opset)
  observed = calibration.observe(smooth, calibrating)  # a step's products are those of the window
  notes = {"dataset": run.dataset.fingerprint, "split": _CALIBRATION_SPLIT.value, "records": len(calibrating)}
  notes["fingerprint"] = calibration.fingerprint(calibrating)
  unsigned, signed = (
    calibration.static_recipe(observed, _METHOD.value, sign, 8, notes) for sign in (False, True)
  )
  unsigned = given[0] if given else unsigned
  return Parts(exported, graph, unsigned, signed, window, step, tuple(moves)), judge.records_of_split(
    run, held_out, _JUDGE.value
  )


def build(run, parts, records: list[dict], chosen: list[str], root: pathlib.Path) -> dict[str, Any]:
  """manifest.json, its files written below `root`."""
  import logging
  import shutil

  from data.files import read_json
  from experiments import provenance
  from experiments.progress import Progress
  from export import latency, manifest
  from export.targets import TARGETS
  from export.verdict import Verdicts

  targets: dict[str, Any] = {}
  answers: dict[str, Any] = {}
  verdicts = Verdicts(run, parts, records)

  def failed(name: str, error: Exception) -> None:
    logging.error("%s failed", name, exc_info=error)
    shutil.rmtree(root / name, ignore_errors=True)
    answers.pop(name, None)
    targets[name] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}

  with Progress(len(chosen), "targets", unit="target") as bar:
    for name in chosen:
      directory = root / name
      try:
        directory.mkdir()
        TARGETS[name].write(parts, directory)
        answers[name] = TARGETS[name].open(directory, _THREADS.value)
        targets[name] = verdicts.of(TARGETS[name], answers[name])
        targets[name] |= {"opset": opset_of(directory), "files": manifest.files_of(directory, root)}
      except Exception as error:  # another target may be what the user came for
        failed(name, error)
      bar.update(1)
  asked = parts.step.inputs(records[0]) if parts.step else records[0]
  faults: dict[str, Exception] = {}
  timed = {name: until_it_raises(name, answer, faults) for name, answer in answers.items()}
  for name, taken in latency.interleaved(timed, asked, _CALLS.value).items():
    threads = _THREADS.value if TARGETS[name].threads else None
    targets[name] |= {"latency_ms": taken, "machine": latency.machine(threads)}
  for name, fault in faults.items():
    failed(name, fault)
  return {
    "format_version": manifest.FORMAT_VERSION,
    "source_run": run.row["run_id"],
    "config_hash": run.row["config_hash"],
    "git_revision": read_json(run.path / "provenance.json", "train again")["git_revision"],
    "weights_fingerprint": manifest.weights_fingerprint(parts.window.weights),
    "exporter_revision": provenance.git_revision(),
    "dataset_fingerprint": run.dataset.fingerprint,
    "what": _WHAT.value,
    "metric": "held-out loss, nats per token" if run.task.ranks else "held-out loss",
    "records": len(records),
    "inputs": {name: [str(value.dtype), list(value.shape)] for name, value in parts.exported.example.items()},
    "outputs": {name: list(value.shape) for name, value in parts.exported.outputs().items()},
    "smoothing": [dataclasses.asdict(move) for move in parts.moves],
    "targets": targets,
  }


def until_it_raises(name: str, answer: Callable, faults: dict[str, Exception]) -> Callable:
  """`answer`; what it raises is kept under its name, and it is not asked again."""

  def ask(arrays):
    if name not in faults:
      try:
        return answer(arrays)
      except Exception as error:
        faults[name] = error
    return None

  return ask


def opset_of(directory: pathlib.Path) -> int | None:
  """Of the ONNX file in it; None: there is none."""
  import onnx

  path = directory / "model.onnx"
  return onnx.load(path, load_external_data=False).opset_import[0].version if path.exists() else None


def table(result: dict[str, Any]) -> str:
  """What the program prints: a line for each target."""
  lines = [
    f"{'':<16}{'bytes':>12}{'rel. L2':>10}{'worst':>10}{'loss':>10}{'of float':>10}{'p50 ms':>9}{'p99 ms':>9}"
  ]
  for name, own in result["targets"].items():
    if "failed" in own:
      lines.append(f"{name:<16} failed: {own['failed']}")
      continue
    size = sum(file["bytes"] for file in own["files"].values())
    lines.append(
      f"{name:<16}{size:>12,}{own['relative_l2']:>10.2g}{own['worst_sample']:>10.2g}{own['metric']:>10.4f}"
      f"{own['metric'] - own['metric_fp32']:>+10.4f}{own['latency_ms']['p50']:>9.3f}{own['latency_ms']['p99']:>9.3f}"
    )
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
