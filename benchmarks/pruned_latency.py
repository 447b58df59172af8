"""What half the FLOPs are worth in time: python -m benchmarks.pruned_latency --width=256 --out=build/pruned_latency.

A motion model with random weights beside what structured pruning leaves of it: half of its heads and MLP units, or half
of its layers. Each is exported (float32, and 8 bits by min-max ranges) and answers one window in ONNX Runtime; all take
turns in one process. Prints, and leaves as OUT/pruned_latency.json, processor milliseconds of an answer and ratios
of medians to the whole model, of the same kind of artifact.
"""

import json
import pathlib
import sys
import time

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from experiments import program

_WIDTH = flags.DEFINE_integer("width", 256, "Of the whole model.", lower_bound=32)
_CALLS = flags.DEFINE_integer("calls", 40, "Of every artifact.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 1, "Of a runtime.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "Directory; created.", required=True)
WARM = 3  # calls that do not count


def main() -> int:
  import numpy as np

  from data.files import require_directory, write_json_atomic
  from export import latency

  out = require_directory(_OUT.value, "--out")
  out.mkdir(parents=True, exist_ok=True)
  answers, flops, arrays = {}, {}, {}
  for shape, config in shapes(_WIDTH.value).items():
    flops[shape] = config.flops_per_token()
    for kind, (answer, example) in artifacts(config, out).items():
      answers[shape, kind], arrays[shape, kind] = answer, example
  taken: dict = {name: [] for name in answers}
  for call in range(WARM + _CALLS.value):
    for name, answer in answers.items():
      start = time.process_time_ns()
      answer(arrays[name])
      if call >= WARM:
        taken[name].append((time.process_time_ns() - start) / 1e6)
  rows = []
  for (shape, kind), own in taken.items():
    whole = np.asarray(taken["whole", kind])
    low, high = np.quantile(
      whole / np.asarray(own), [0.25, 0.75]
    )  # of calls that were made one after the other
    rows.append(
      {
        "shape": shape, "artifact": kind, "flops": flops[shape] / flops["whole"], "ms": float(np.median(own)),
        "faster": float(np.median(whole) / np.median(own)), "quartiles": [float(low), float(high)],
      }
    )  # fmt: skip
    print(json.dumps(rows[-1]))
  found = {
    "width": _WIDTH.value,
    "calls": _CALLS.value,
    "rows": rows,
    "machine": latency.machine(_THREADS.value),
  }
  write_json_atomic(out / "pruned_latency.json", found)
  print(out / "pruned_latency.json")
  return 0


def shapes(width: int) -> dict:
  """Name to configuration: the whole model, and two that pruning leads to."""
  import dataclasses

  from experiments.configs import isoflop

  whole = isoflop.model(width)
  narrow = dataclasses.replace(whole, heads=whole.head_count // 2, hidden=whole.mlp_units // 2)
  shallow = dataclasses.replace(whole, layers=max(2, whole.layers // 4 * 2))
  return {"whole": whole, "half of heads and units": narrow, "half of the layers": shallow}


def artifacts(config, out: pathlib.Path) -> dict:
  """Kind to (answer, inputs)."""
  import flax.linen as nn
  import jax
  import numpy as np
  import onnx

  from export import calibration, onnx_capture, qdq, runtimes
  from export.exportable import forward
  from models.motion import MotionModel

  rng = np.random.default_rng(0)
  shape = (1, config.steps, config.agents)
  batch = {
    "tokens_BxTxA": rng.integers(0, config.vocabulary, shape).astype(np.int16),
    "valid_BxTxA": np.ones(shape, bool),
    "mask_BxTxA": np.ones(shape, bool),
    "features_BxTxAxF": rng.normal(size=(*shape, config.features)).astype(np.float16),
    "group_BxA": np.ones((1, config.agents), np.uint8),
    "type_BxA": np.zeros((1, config.agents), np.uint8),
  }
  model = MotionModel(config)
  like = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), batch)["params"])
  weights = jax.tree.map(lambda leaf: rng.normal(0, 0.05, leaf.shape).astype(np.float32), like)
  exported = forward(model.apply, weights, batch)
  graph = onnx_capture.capture(exported)
  recipe = calibration.static_recipe(
    calibration.observe(exported, [exported.example]), "minmax", False, 8, {}
  )
  found = {}
  for kind, artifact in (("onnx_fp32", graph), ("onnx_int8", qdq.quantised(graph, recipe))):
    path = out / f"{kind}.onnx"
    onnx.save(artifact, path)
    found[kind] = runtimes.onnxruntime(path, _THREADS.value), exported.example
    path.unlink()
  return found


if __name__ == "__main__":
  program.run(main)
