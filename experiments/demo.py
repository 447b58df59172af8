"""The main job on simulated logs: python -m experiments.demo --workdir=W.

Simulates a dataset, audits its split, trains a ladder of models, fits the scaling law, writes down what it
predicts for a larger run, trains that run, lets it forecast and drive, exports it as INT8 artifacts, lets a fleet
learn the same without moving its logs, and leaves W/report.html. Run the same command again to continue; a stage
whose output is there and valid is skipped.
"""

import pathlib
import runpy
import signal
import time
from collections.abc import Iterator
from typing import Any

from absl import flags

from experiments import program

_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Directory of the demo; created, or continued.", required=True
)

# Its sweep() is the ladder, its variant "larger" the run to predict.
CONFIG = "experiments/configs/motion_demo.py"
# Runs of one seed differ by noise, none is an outlier: squares use it best. Over ladders of single seeds drawn from
# results/ladder, they predict the next budget with a spread of 0.4 %, Huber's loss with 1.1 %.
LOSS = "mse"
DRAWN = "noise"  # sizes and budgets were chosen: other noise, not other runs, is what could have been
DRIVES = ("--worlds=1", "--egos=8", "--seconds=15", "--moves=expected,guided")
ARTIFACTS = ("--targets=onnx_fp32,onnx_int8,tensorrt_int8,openvino_int8", "--calibrate=32", "--judge=64")
FLEET = "--config=experiments/configs/fleet.py:demo"
LOGS = ("--source=sumo", "--scenes_per_domain=17")


def chain(work: pathlib.Path) -> Iterator[Any]:
  """The stages in order, each made when those before it are done: it may read what they left."""
  from data.datasets import KINDS
  from experiments.stages import Stage

  config = pathlib.Path(CONFIG)
  dataset, ladder, law, larger = (work / name for name in ("dataset", "ladder", "law", "larger"))
  manifest, on_dataset = dataset / "dataset.json", f"--config.data.dataset={dataset}"

  content = (manifest, *(dataset / kind for kind in KINDS))
  argv: tuple[str, ...] = ("data.build", *LOGS, f"--out={dataset}")
  yield Stage("dataset", "simulate logs", argv, (), content, dataset)

  audit = dataset / "audit.json"
  argv = ("data.audit", f"--dataset={dataset}")
  yield Stage("audit", "audit the split", argv, content, (audit,), audit)

  runs = ladder / "runs.csv"
  argv = ("scaling.sweep", f"--config={CONFIG}", on_dataset, f"--workdir={ladder}")
  yield Stage("ladder", "train the ladder", argv, (config, manifest), (runs,), ladder)

  prediction = law / "prediction.json"
  asked = (f"--predict_{name}={value!r}" for name, value in size_of_larger(dataset).items())
  argv = (
    "scaling.fit",
    f"--runs={runs}",
    f"--out={law}",
    f"--loss={LOSS}",
    f"--bootstrap_by={DRAWN}",
    *asked,
  )
  yield Stage("prediction", "fit the law and predict a larger run", argv, (runs,), (prediction,), law)

  # The prediction is an input: a new one asks for a run that starts after it was written.
  result = larger / "result.json"
  argv = ("experiments.train", f"--config={CONFIG}:larger", on_dataset, f"--workdir={larger}")
  yield Stage("larger", "train the larger run", argv, (config, manifest, prediction), (result,), larger)

  forecast = work / "forecast" / "forecast.json"
  argv = ("evaluation.forecast", f"--run={larger}", f"--out={forecast.parent}", "--pieces=1")
  yield Stage("forecast", "let it forecast", argv, (result, manifest), (forecast,), forecast.parent)

  driven = work / "closed_loop" / "closed_loop.json"
  argv = ("evaluation.closed_loop", f"--run={larger}", f"--out={driven.parent}", *DRIVES)
  yield Stage("closed_loop", "let it drive", argv, (result, manifest), (driven,), driven.parent)

  exported = work / "vehicle" / "manifest.json"
  argv = ("export.build", f"--run={larger}", f"--out={exported.parent}", *ARTIFACTS)
  yield Stage("export", "export it for vehicles", argv, (result, manifest), (exported,), exported.parent)

  federated = work / "fleet" / "result.json"
  argv = (
    "federated.simulate",
    FLEET,
    f"--config.train.data.dataset={dataset}",
    f"--workdir={federated.parent}",
  )
  yield Stage(
    "fleet", "let a fleet learn without moving its logs", argv, (manifest,), (federated,), federated.parent
  )

  report = work / "report.html"
  inputs = (manifest, audit, runs, prediction, result, forecast, driven, exported, federated)
  argv = ("experiments.demo_report", f"--workdir={work}")
  yield Stage("report", "compare and report", argv, inputs, (report, law / "fit.json"), report)


def size_of_larger(dataset: pathlib.Path) -> dict[str, float]:
  """N, D and fully counted C of the run to predict, from its configuration alone."""
  from data.datasets import open_dataset
  from experiments import config as configs
  from experiments.task import make_task

  config = configs.from_dict(runpy.run_path(CONFIG)["get_config"]("larger").to_dict())
  opened = open_dataset(dataset, verify=False)
  model = make_task(config, opened.config, len(opened.domains)).model.config
  return {
    "params": float(model.non_embedding_params()),
    "tokens": float(config.tokens),
    "flops": float(config.tokens * model.flops_per_token()),
  }


def outcome(law: pathlib.Path) -> str:
  """What was predicted and what came of it, in one sentence."""
  from data.files import read_json

  fit = read_json(law / "fit.json", "run experiments.demo again")
  said, found = fit["prediction"], fit["outcome"]
  where = "inside" if found["inside_ci95"] else "outside"
  low, high = said["ci95"]
  return (
    f"predicted {said['loss']:.4f} [{low:.4f}, {high:.4f}] nats per token at {said['times_largest_budget']:.1f} times"
    f" the largest budget, measured {found['loss']:.4f}: {found['loss_error_percent']:+.2f} %, {where} the interval"
  )


def main() -> int:
  from data.errors import BadInput
  from data.files import require_directory
  from experiments import stages

  if not pathlib.Path(CONFIG).exists():
    raise BadInput("no such file here", CONFIG, "run the demo from the root of the repository")
  signal.signal(signal.SIGTERM, _stop)
  work, begun = require_directory(_WORKDIR.value, "--workdir"), time.monotonic()
  for number, stage in enumerate(chain(work), 1):
    print(f"[{number}] {stage.title}", flush=True)
    try:
      ran = stages.run(stage, work / "stages")
    except stages.StageFailed as error:
      print(f"demo: {error}. Run the same command again to continue.", flush=True)
      return error.code
    seconds = stages.seconds_of(stage, work / "stages")
    print(f"    {seconds:.0f} s" + ("" if ran else ", done before"), flush=True)
  print(outcome(work / "law"))
  print(f"{time.monotonic() - begun:.0f} s in all; open {work / 'report.html'}")
  return 0


def _stop(*_) -> None:
  raise program.Preempted("the stage was asked to save; run the same command again to continue")


if __name__ == "__main__":
  program.run(main)
