"""Stages chained by one file: python -m experiments.curriculum --stages=F.py[:variant] --dataset=D --workdir=W.

F.py holds stages(variant), a list of stages (experiments/curriculum_stages.py): each a configuration with changes,
the stage whose weights it begins with, and what must hold before and after; or the export of an earlier stage. Run the
same command again to continue; a stage that is done is skipped. W/<stage> is a run directory, W/gates/<stage>.json what
its gates found, W/curriculum.json the chain. A gate that fails ends the chain with a sentence and exit code 3.
"""

import pathlib
import signal

from absl import flags

from experiments import program

_STAGES = flags.DEFINE_string("stages", None, "FILE.py[:variant] that holds stages(variant).", required=True)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Directory of the chain; created, or continued.", required=True
)
_DATASET = flags.DEFINE_string("dataset", None, "Dataset of all stages, made by data.build.", required=True)
_SPLIT = flags.DEFINE_string("split", "tune", "Split on which gates compare slices.")


def main() -> int:
  from data.files import require_directory, write_json_atomic
  from experiments import curriculum_stages as chain
  from experiments import stages

  signal.signal(signal.SIGTERM, _stop)
  found = chain.read(_STAGES.value)
  work = require_directory(_WORKDIR.value, "--workdir")
  for number, stage in enumerate(found, 1):
    print(f"[{number}] {stage.name}", flush=True)
    chain.judge(stage, "entry", work, _SPLIT.value)
    try:
      ran = stages.run(chain.command(stage, work, pathlib.Path(_DATASET.value)), work / "stages")
    except stages.StageFailed as error:
      print(f"curriculum: {error}. Run the same command again to continue.", flush=True)
      return error.code
    print("    " + chain.outcome(stage, work) + ("" if ran else ", done before"), flush=True)
    chain.judge(stage, "exit", work, _SPLIT.value)
  write_json_atomic(work / "curriculum.json", chain.summary(found, work))
  print(work / "curriculum.json")
  return 0


def _stop(*_) -> None:
  raise program.Preempted("the stage was asked to save; run the same command again to continue")


if __name__ == "__main__":
  program.run(main)
