"""INT8 against float on this processor, in the runtimes of vehicles: python -m benchmarks.edge_latency --run=W.

One trained model (experiments/configs/edge.py: ViT-S/16 at 224 x 224) as float32 and INT8 in ONNX Runtime and OpenVINO,
OpenVINO's bfloat16, and NNCF at every setting of its smoothing beside ours, all on the same calibration records. Every
variant is called in turn in one process; a ratio is of two calls of the same turn, told as the median over turns with
its quartiles, in processor time and in wall time. Errors are relative L2 from the float model over held-out records,
with how often the likeliest class of a cell differs and how many cells are right.

Artifacts are kept in --artifacts and taken from there when the program is run again. NNCF is optional: it is in
requirements/bench.txt, which wants an environment of its own.
"""

import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of experiments/configs/edge.py.", required=True)
_DATASET = flags.DEFINE_string("dataset", "", "Where its dataset lies now, if it has been moved.")
_ARTIFACTS = flags.DEFINE_string("artifacts", "build/edge_latency", "Where artifacts are kept.")
_OUT = flags.DEFINE_string("out", "", "JSON file to write besides.")
_CALIBRATE = flags.DEFINE_integer("calibrate", 32, "Records to calibrate on.", lower_bound=1)
_JUDGE = flags.DEFINE_integer(
  "judge", 64, "Held-out records to judge on; 0: errors are not told.", lower_bound=0
)
_TURNS = flags.DEFINE_integer("turns", 40, "Timed calls of every variant.", lower_bound=3)
_THREADS = flags.DEFINE_list("threads", ["1", "2"], "Threads of a runtime; one table for each.")
_SMOOTH = flags.DEFINE_bool(
  "smooth", False, "Smooth ours first, as export.build does; minutes for so many layers."
)
_NNCF = flags.DEFINE_bool("nncf", True, "Also NNCF.")

ALPHAS = {"off": -1.0, ".15": 0.15, ".5": 0.5, ".95": 0.95}  # of its smoothing; .95 is NNCF's own choice
BASES = {"onnxruntime": "onnxruntime float32", "openvino": "openvino float32"}


def main() -> int:
  from experiments import run as runs
  from experiments.provenance import git_revision
  from export import judge, latency

  root = pathlib.Path(_ARTIFACTS.value)
  run = runs.open_run(_RUN.value, _DATASET.value)
  written(run, root)
  kinds = variants(root)
  result: dict[str, Any] = {
    "run": run.row["run_id"],
    "config_hash": run.row["config_hash"],
    "git_revision": git_revision(),
    "machine": latency.machine(max(map(int, _THREADS.value))),
    "turns": _TURNS.value,
    "calibrated_on": _CALIBRATE.value,
    "bytes": {name: size(path) for name, (path, _) in kinds.items()},
    "times": {},
  }
  held_out = judge.records_of_split(run, run.config.data.eval_split, max(_JUDGE.value, 1))
  if _JUDGE.value:
    result["errors"] = errors(held_out, kinds)
  for threads in map(int, _THREADS.value):
    answers = {name: opened(threads) for name, (_, opened) in kinds.items()}
    taken = in_turn(answers, held_out[0], _TURNS.value)
    result["times"][str(threads)] = {
      name: summary(own, taken[BASES[name.split()[0]]]) for name, own in taken.items()
    }
    result["load"] = os.getloadavg()
    print(table(result, str(threads)), flush=True)
    if _OUT.value:
      pathlib.Path(_OUT.value).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
  return 0


def written(run, root: pathlib.Path) -> None:
  """All artifacts, those that are there already left as they are."""
  import onnx

  from experiments import run as runs
  from export import calibration, judge, onnx_capture, qdq, smoothing
  from export.exportable import forward
  from export.recipe import Recipe, Site
  from export.targets import TARGETS, Parts

  calibrating = judge.records_of_split(run, run.config.data.train_split, _CALIBRATE.value)
  if not (root / "dynamic").exists():
    model, weights, example = runs.deployed(run)
    exported = forward(model.apply, weights, example)
    moves = smoothing.plan(exported, calibrating) if _SMOOTH.value else []
    exported = smoothing.smoothed(exported, moves)
    graph = onnx_capture.capture(exported)
    observed = calibration.observe(exported, calibrating)
    recipes = [calibration.static_recipe(observed, "mse", signed, 8, {}) for signed in (False, True)]
    parts = Parts(exported, graph, *recipes, exported, None, tuple(moves))
    for name in ("onnx_fp32", "onnx_int8", "tensorrt_int8", "openvino_int8"):
      (root / name).mkdir(parents=True, exist_ok=True)
      TARGETS[name].write(parts, root / name)
    dynamic = qdq.quantised(graph, Recipe(dict.fromkeys(observed, Site(8, "dynamic")), {}))
    (root / "dynamic").mkdir()
    onnx.save(dynamic, root / "dynamic" / "model.onnx")
  if _NNCF.value:
    for name, alpha in ALPHAS.items():
      if not (root / f"nncf{name}").exists():
        by_nncf(root / "onnx_fp32" / "model.onnx", calibrating, alpha, root / f"nncf{name}")


def by_nncf(path: pathlib.Path, records: list[dict], alpha: float, out: pathlib.Path) -> None:
  """Post-training quantisation as NNCF's documentation has it for transformers, on the same records."""
  from data.errors import BadInput
  from export.runtimes import import_openvino

  ov = import_openvino()
  try:
    import nncf
    from nncf.quantization.advanced_parameters import (
      AdvancedQuantizationParameters,
      AdvancedSmoothQuantParameters,
    )
  except ImportError:
    raise BadInput(
      "nncf is not installed", "--nncf", "make an environment of requirements/bench.txt, or give --nonncf"
    ) from None
  model = ov.Core().read_model(path)
  names = [one.get_any_name() for one in model.inputs]
  smooth = AdvancedSmoothQuantParameters(matmul=alpha, convolution=-1)
  quantised = nncf.quantize(
    model,
    nncf.Dataset(records, lambda record: {name: record[name] for name in names}),
    preset=nncf.QuantizationPreset.PERFORMANCE,
    model_type=nncf.ModelType.TRANSFORMER,
    subset_size=len(records),
    advanced_parameters=AdvancedQuantizationParameters(smooth_quant_alphas=smooth),
  )
  out.mkdir()
  ov.save_model(quantised, out / "model.xml", compress_to_fp16=False)


def variants(root: pathlib.Path) -> dict[str, tuple[pathlib.Path, Callable]]:
  """name -> (its directory, threads -> answer)."""
  from export import runtimes

  def ours(directory: str):
    path = root / directory
    return path, lambda threads: runtimes.onnxruntime(path / "model.onnx", threads)

  def openvino(directory: str, precision: str):
    path = root / directory
    (file,) = (*path.glob("*.xml"), *path.glob("*.onnx"))
    return path, lambda threads: runtimes.openvino(file, threads, precision)

  found = {
    "onnxruntime float32": ours("onnx_fp32"),
    "onnxruntime U8S8 static": ours("onnx_int8"),
    "onnxruntime dynamic": ours("dynamic"),
    "openvino float32": openvino("onnx_fp32", "f32"),
    "openvino bfloat16": openvino("onnx_fp32", "bf16"),
    "openvino S8S8, rest float32": openvino("openvino_int8", "f32"),
    "openvino S8S8, rest bfloat16": openvino("openvino_int8", "bf16"),
    "openvino S8S8 of the ONNX file": openvino("tensorrt_int8", "f32"),
  }
  for name in ALPHAS:
    if (root / f"nncf{name}").exists():
      found[f"openvino NNCF {name}, rest float32"] = openvino(f"nncf{name}", "f32")
      found[f"openvino NNCF {name}, rest bfloat16"] = openvino(f"nncf{name}", "bf16")
  return found


def size(directory: pathlib.Path) -> int:
  return sum(path.stat().st_size for path in directory.iterdir())


def errors(records: list[dict], kinds: dict) -> dict[str, dict[str, float]]:
  """Of every variant from float32 in ONNX Runtime, which is the model to 1e-5."""
  import numpy as np

  from export.judge import distance

  truth = [kinds["onnxruntime float32"][1](1)(record) for record in records]
  labels = np.stack([record["cells_BxTxHxW"] for record in records])
  found = {}
  for name, (_, opened) in kinds.items():
    answer = opened(1)
    said = [answer(record) for record in records]
    apart = [distance(one, other) for one, other in zip(said, truth, strict=True)]
    (kind,) = truth[0]
    classes, real = (np.stack([one[kind].argmax(-1) for one in all_]) for all_ in (said, truth))
    found[name] = {
      "relative_l2": float(np.mean(apart)),
      "worst_sample": float(np.max(apart)),
      "cells_that_differ": float((classes != real).mean()),
      "cells_right": float((classes == labels).mean()),
    }
  return found


def in_turn(answers: dict[str, Callable], record: dict, turns: int) -> dict[str, list[tuple[float, float]]]:
  """name -> (processor seconds, seconds) of each turn; two turns before the first that counts."""
  taken: dict[str, list[tuple[float, float]]] = {name: [] for name in answers}
  for turn in range(-2, turns):
    for name, answer in answers.items():
      wall, used = time.perf_counter(), time.process_time()
      answer(record)
      if turn >= 0:
        taken[name].append((time.process_time() - used, time.perf_counter() - wall))
  return taken


def summary(own: list[tuple[float, float]], base: list[tuple[float, float]]) -> dict[str, Any]:
  """Median milliseconds, and quartiles of base over own, turn by turn: of the processor and by the clock."""
  import numpy as np

  ours, theirs = np.asarray(own), np.asarray(base)
  told: dict[str, Any] = {}
  for i, kind in enumerate(("processor", "clock")):
    told[f"{kind}_ms"] = float(1e3 * np.median(ours[:, i]))
    told[f"{kind}_ms_least"] = float(1e3 * ours[:, i].min())
    told[f"{kind}_ratio"] = [float(x) for x in np.quantile(theirs[:, i] / ours[:, i], [0.25, 0.5, 0.75])]
  return told


def table(result: dict[str, Any], threads: str) -> str:
  lines = [
    f"{threads} thread(s)",
    f"{'':<38}{'ms':>8}{'least':>8}{'x float32 (quartiles)':>24}{'clock x':>9}{'MB':>7}{'rel. L2':>9}{'worst':>8}"
    f"{'differ':>8}{'right':>8}",
  ]
  for name, own in result["times"][threads].items():
    low, middle, high = own["processor_ratio"]
    ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    line = f"{name:<38}{own['processor_ms']:>8.1f}{own['processor_ms_least']:>8.1f}{ratio:>24}"
    line += f"{own['clock_ratio'][1]:>9.2f}{result['bytes'][name] / 1e6:>7.1f}"
    if off := result.get("errors", {}).get(name):
      line += f"{off['relative_l2']:>9.4f}{off['worst_sample']:>8.4f}{off['cells_that_differ']:>8.4f}"
      line += f"{off['cells_right']:>8.4f}"
    lines.append(line)
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
