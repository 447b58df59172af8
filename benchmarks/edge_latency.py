"""INT8 against float on this processor, in the runtimes of vehicles: python -m benchmarks.edge_latency --run=W.

One trained model (experiments/configs/edge.py: ViT-S/16 at 224 x 224) as float32 and INT8 in ONNX Runtime, OpenVINO and
LiteRT, OpenVINO's bfloat16, and NNCF at every setting of its smoothing beside ours, all on the same calibration
records. Every variant is called in turn in one process; a ratio is of two calls of the same turn, told as the median
over turns with its quartiles, in processor time and by the clock. Errors are relative L2 from the float model over
held-out records; what becomes of the task is told by cells, paired with float32: nats, how many cells are right, how
many fewer in the worst domain, how many name another class; a standard error is over scenes.

Artifacts are kept in --artifacts and taken from there when the program is run again; --turns=0 or --judge=0 leaves out
times or errors, and --out keeps what it has of the other. NNCF is optional: it is in requirements/bench.txt, which
wants an environment of its own.
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

from benchmarks.edge_artifacts import ALPHAS, written
from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of experiments/configs/edge.py.", required=True)
_DATASET = flags.DEFINE_string("dataset", "", "Where its dataset lies now, if it has been moved.")
_ARTIFACTS = flags.DEFINE_string("artifacts", "build/edge_latency", "Where artifacts are kept.")
_OUT = flags.DEFINE_string("out", "", "JSON file to write besides.")
_CALIBRATE = flags.DEFINE_integer("calibrate", 32, "Records to calibrate on.", lower_bound=1)
_JUDGE = flags.DEFINE_integer(
  "judge", 64, "Held-out records to judge on; 0: errors are not told.", lower_bound=0
)
_TURNS = flags.DEFINE_integer(
  "turns", 40, "Timed calls of every variant; 0: times are not told.", lower_bound=0
)
_THREADS = flags.DEFINE_list("threads", ["1", "2"], "Threads of a runtime; one table for each.")
_SMOOTH = flags.DEFINE_bool("smooth", True, "Smooth ours first, as export.build does.")
_NNCF = flags.DEFINE_bool("nncf", True, "Also NNCF.")

TRUTH = "onnxruntime float32"
BASES = {"onnxruntime": TRUTH, "openvino": "openvino float32", "litert": "litert float32"}


def main() -> int:
  from experiments import run as runs
  from experiments.provenance import git_revision
  from export import judge, latency

  run = runs.open_run(_RUN.value, _DATASET.value)
  told = f"{run.row['config_hash']}_{_CALIBRATE.value}{'_smooth' * _SMOOTH.value}"
  root = pathlib.Path(_ARTIFACTS.value) / told
  written(run, root, _CALIBRATE.value, _SMOOTH.value, _NNCF.value)
  kinds = variants(root)
  out = pathlib.Path(_OUT.value) if _OUT.value else None
  result: dict[str, Any] = json.loads(out.read_text()) if out and out.exists() else {}
  result |= {
    "run": run.row["run_id"],
    "config_hash": run.row["config_hash"],
    "git_revision": git_revision(),
    "machine": latency.machine(max(map(int, _THREADS.value))),
    "calibrated_on": _CALIBRATE.value,
    "bytes": {name: size(path) for name, (path, _) in kinds.items()},
  }
  if _JUDGE.value:
    result["errors"] = errors(run, kinds)
  if _TURNS.value:
    (record,) = judge.records_of_split(run, run.config.data.eval_split, 1)
    result |= {"turns": _TURNS.value, "times": {}}
    for threads in _THREADS.value:
      answers = {name: opened(int(threads)) for name, (_, opened) in kinds.items()}
      result["times"][threads] = summaries(in_turn(answers, record, _TURNS.value))
    result["load"] = os.getloadavg()
  print(table(result), flush=True)
  if out:
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
  return 0


def variants(root: pathlib.Path) -> dict[str, tuple[pathlib.Path, Callable]]:
  """name -> (its directory, threads -> answer)."""
  from export import runtimes

  def opened(directory: str, open_: Callable, *more):
    path = root / directory
    (file,) = (one for one in path.iterdir() if one.suffix != ".bin")
    return path, lambda threads: open_(file, threads, *more)

  ort, ov, lite = runtimes.onnxruntime, runtimes.openvino, runtimes.litert
  found = {
    TRUTH: opened("onnx_fp32", ort),
    "onnxruntime U8S8 static": opened("onnx_int8", ort),
    "onnxruntime dynamic": opened("onnx_int8_dynamic", ort),
    "openvino float32": opened("onnx_fp32", ov, "f32"),
    "openvino bfloat16": opened("onnx_fp32", ov, "bf16"),
    "openvino S8S8, rest float32": opened("openvino_int8", ov, "f32"),
    "openvino S8S8, rest bfloat16": opened("openvino_int8", ov, "bf16"),
    "openvino S8S8 of the ONNX file": opened("tensorrt_int8", ov, "f32"),
    "litert float32": opened("litert_fp32", lite),
    "litert dynamic": opened("litert_int8", lite),
  }
  for name in ALPHAS:
    if (root / f"nncf{name}").exists():
      found[f"openvino NNCF {name}, rest float32"] = opened(f"nncf{name}", ov, "f32")
      found[f"openvino NNCF {name}, rest bfloat16"] = opened(f"nncf{name}", ov, "bf16")
  return found


def size(directory: pathlib.Path) -> int:
  return sum(path.stat().st_size for path in directory.iterdir())


def errors(run, kinds: dict) -> dict[str, Any]:
  """Of every variant from float32 in ONNX Runtime, which is the model to 1e-5, over the same held-out records."""
  import numpy as np

  from export import judge
  from export.candidates import scene_batches
  from export.sensitivity import increase

  batches, scene_R = scene_batches(run, run.config.data.eval_split, _JUDGE.value)
  records = [one for batch in batches for one in judge.records_of(batch)]
  domain_R = np.concatenate([batch["domain_B"] for batch in batches])
  label_RxG = np.stack([record["cells_BxTxHxW"].reshape(-1) for record in records]).astype(int)
  count_R = np.full(len(records), label_RxG.shape[1], float)

  def said(name: str) -> tuple[list, np.ndarray, np.ndarray, np.ndarray]:
    """(answers, nats_R, right_R, likeliest class [R, G])."""
    answer = kinds[name][1](1)
    answers = [answer(record) for record in records]
    (kind,) = answers[0]
    logits_RxGxV = np.stack([one[kind].reshape(label_RxG.shape[1], -1) for one in answers]).astype(np.float64)
    top = logits_RxGxV.max(-1)
    total = top + np.log(np.exp(logits_RxGxV - top[..., None]).sum(-1))
    nats = total - np.take_along_axis(logits_RxGxV, label_RxG[..., None], -1)[..., 0]
    likeliest = logits_RxGxV.argmax(-1)
    return answers, nats.sum(-1), (likeliest == label_RxG).sum(-1).astype(float), likeliest

  truth, nats_R, right_R, classes = said(TRUTH)
  found: dict[str, Any] = {"records": len(records), "scenes": len(set(scene_R.tolist())), "variants": {}}
  for name in kinds:
    told, own_nats_R, own_right_R, own_classes = said(name)
    apart = [judge.distance(one, other) for one, other in zip(told, truth, strict=True)]
    slices = {}
    for i, domain in enumerate(run.dataset.domains):
      own = domain_R == i
      if own.any():
        slices[domain] = 100 * (right_R - own_right_R)[own].sum() / count_R[own].sum()
    rise, lost = (
      increase((after, count_R), (before, count_R), scene_R)
      for after, before in ((own_nats_R, nats_R), (right_R, own_right_R))
    )
    found["variants"][name] = {
      "relative_l2": float(np.mean(apart)),
      "worst_sample": float(np.max(apart)),
      "nats": float(own_nats_R.sum() / count_R.sum()),
      "more_nats": rise,
      "cells_right": float(own_right_R.sum() / count_R.sum()),
      "points_lost": [100 * x for x in lost],
      "points_lost_by_domain": slices,
      "cells_that_differ": float((own_classes != classes).mean()),
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


def summaries(taken: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
  """Of each variant its median milliseconds and quartiles of base over own, turn by turn: processor and clock."""
  import numpy as np

  seconds = {name: np.asarray(own) for name, own in taken.items()}
  told: dict[str, Any] = {}
  for name, own in seconds.items():
    told[name] = {}
    for i, kind in enumerate(("processor", "clock")):
      base = seconds[BASES[name.split()[0]]][:, i]
      told[name] |= {
        f"{kind}_ms": float(1e3 * np.median(own[:, i])),
        f"{kind}_ms_least": float(1e3 * own[:, i].min()),
        f"{kind}_ratio": [float(x) for x in np.quantile(base / own[:, i], [0.25, 0.5, 0.75])],
      }
  return told


def table(result: dict[str, Any]) -> str:
  """Markdown: times for each number of threads, then bytes and errors."""
  lines = []
  for threads, times in result.get("times", {}).items():
    lines += ["", f"{threads} thread(s):", ""]
    lines += [
      "| variant | processor ms | float32 / it | by the clock ms | float32 / it |",
      "|---|---|---|---|---|",
    ]
    for name, own in times.items():
      line = f"| {name}"
      for kind in ("processor", "clock"):
        low, middle, high = own[f"{kind}_ratio"]
        line += f" | {own[f'{kind}_ms']:.1f} | {middle:.2f} ({low:.2f} to {high:.2f})"
      lines.append(f"{line} |")
  base = result["bytes"][TRUTH]
  lines += [
    "",
    "| variant | MB | x bytes | relative L2 | worst | nats more | points lost | worst domain | differ |",
  ]
  lines += ["|---|---|---|---|---|---|---|---|---|"]
  for name, own in result.get("errors", {}).get("variants", {}).items():
    (rise, rise_error), (lost, lost_error) = own["more_nats"], own["points_lost"]
    lines.append(
      f"| {name} | {result['bytes'][name] / 1e6:.1f} | {result['bytes'][name] / base:.3f} | {own['relative_l2']:.4f} "
      f"| {own['worst_sample']:.4f} | {rise:+.5f} ± {rise_error:.5f} | {lost:+.3f} ± {lost_error:.3f} "
      f"| {max(own['points_lost_by_domain'].values()):+.2f} | {own['cells_that_differ']:.4f} |"
    )
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
