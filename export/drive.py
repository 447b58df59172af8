"""An artifact in the loop of a vehicle: python -m export.drive --artifact=DIR --target=onnx_int8 --run=W.

One target plans every --period_ms by --deadline_ms; --background, another one, answers when nothing is in the way
(export/harness.py). Prints and writes deadlines missed, p50, p99, p99.9 and the worst response, and whether equal
records gave equal bits. Exit 1 when they did not.
"""

from absl import flags

from experiments import program

_ARTIFACT = flags.DEFINE_string("artifact", None, "Directory that export.build has made.", required=True)
_TARGET = flags.DEFINE_string("target", None, "Which artifact plans.", required=True)
_BACKGROUND = flags.DEFINE_string("background", "", "Which works in the background; empty: none.")
_RUN = flags.DEFINE_string("run", None, "The run it was exported from, for its records.", required=True)
_DATASET = flags.DEFINE_string("dataset", "", "Where that run's dataset lies now, if it has been moved.")
_RECORDS = flags.DEFINE_integer("records", 16, "Held-out records that come in turn.", lower_bound=1)
_PERIOD = flags.DEFINE_float("period_ms", 100.0, "Between two plans.", lower_bound=0.1)
_DEADLINE = flags.DEFINE_float("deadline_ms", 50.0, "Of a plan, after its release.", lower_bound=0.1)
_SECONDS = flags.DEFINE_float("seconds", 60.0, "How long to drive.", lower_bound=0.1)
_THREADS = flags.DEFINE_integer("threads", 1, "Threads of a runtime.", lower_bound=1)
_PUBLIC_KEY = flags.DEFINE_string("public_key", "", "Of who must have signed the export, PEM.")
_OUT = flags.DEFINE_string("out", "", "JSON file to write besides.")


def main() -> int:
  import json
  import pathlib

  from data.errors import BadInput
  from data.files import require_directory, write_json_atomic
  from experiments import run as runs
  from export import harness, judge, latency, manifest, signature
  from export.targets import TARGETS

  root = pathlib.Path(_ARTIFACT.value)
  if _OUT.value:
    require_directory(pathlib.Path(_OUT.value).parent, "--out")
  if _PUBLIC_KEY.value:
    signature.check(root, _PUBLIC_KEY.value)
  found = manifest.read(root)
  if found["what"] != "forward":
    raise BadInput(f"holds a {found['what']}", root, "drive what was exported with --what=forward")
  made = [name for name, own in found["targets"].items() if "failed" not in own]
  for flag, name in (("--target", _TARGET.value), ("--background", _BACKGROUND.value)):
    if name and name not in made:
      raise BadInput(f"no artifact {name!r} in {root}", flag, f"choose from {', '.join(made)}")
  run = runs.open_run(_RUN.value, _DATASET.value)
  manifest.require_source(found, run)
  records = judge.records_of_split(run, run.config.data.eval_split, _RECORDS.value)
  plan = TARGETS[_TARGET.value].open(root / _TARGET.value, _THREADS.value)
  clock = harness.WallClock()
  for record in records[: latency.WARM]:
    plan(record)
  background = None
  if _BACKGROUND.value:
    piece = TARGETS[_BACKGROUND.value].open(root / _BACKGROUND.value, _THREADS.value)
    longest = 0.0
    for record in records[: latency.WARM]:
      begun = clock.now()
      piece(record)
      longest = max(longest, clock.now() - begun)
    background = harness.Background(longest, lambda k: piece(records[k % len(records)]))
  task = harness.Task(
    _TARGET.value, _PERIOD.value / 1e3, _DEADLINE.value / 1e3, len(records), lambda i: plan(records[i])
  )
  driven, pieces = harness.drive([task], background, _SECONDS.value, clock)
  report = driven[task.name].report() | {
    "target": task.name,
    "period_ms": _PERIOD.value,
    "deadline_ms": _DEADLINE.value,
    "background": _BACKGROUND.value,
    "pieces": pieces,
    "machine": latency.machine(_THREADS.value),
  }
  print(json.dumps(report, indent=1))
  if _OUT.value:
    write_json_atomic(pathlib.Path(_OUT.value), report)
  return 1 if report["unequal"] else 0


if __name__ == "__main__":
  program.run(main)
