"""Runs a config's sweep() and leaves runs.csv: python -m scaling.sweep --config=F.py[:variant] --workdir=W.

Run the same command again to continue: finished trials are kept, killed ones resume from their checkpoints.
W/trials.jsonl lists the trials, W/runs/<id> holds their run directories, W/logs/<id>.log what they printed;
W/curves.csv their training curves.
python -m scaling.status --workdir=W says how they stand.
--config.key=value holds for every trial, and is refused for a key that the sweep itself sets to another value.
--engine=skypilot and --engine=jobset only write files for a cloud, from the same trials; they start nothing.
"""

import sys
import time
from collections.abc import Callable, Sequence

from absl import flags

from experiments import program
from experiments.progress import Progress
from scaling.sweeps.states import State

MODULE = "experiments.train"

_CONFIG = program.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Directory of the sweep; created, or continued.", required=True
)
_ENGINE = flags.DEFINE_enum(
  "engine",
  "local",
  ["local", "serial", "skypilot", "jobset"],
  "What runs the trials: Snakemake on this machine; one after the other; or files for SkyPilot, or for JobSet on GKE.",
)
_SLOTS = flags.DEFINE_integer("slots", 2, "Trials at a time; processors are shared equally.", lower_bound=1)
_POINTS = flags.DEFINE_string("points", "", "FILE.json: a list of points in place of the config's sweep().")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the trials and what they cost, and stop.")
_RATE = flags.DEFINE_float(
  "flops_per_second", 0.0, "FLOP/s of one trial, to estimate hours; 0: measured from finished runs.", 0.0
)
_RESOURCES = flags.DEFINE_string("resources", "", "CHIP:TOPOLOGY:HOSTS of every trial, such as v6e:4x4:4.")
_BUCKET = flags.DEFINE_string("bucket", "", "Cloud engines: bucket that holds the sweep's directory.")
_IMAGE = flags.DEFINE_string("image", "", "jobset: container image with this repository and its environment.")
_QUEUE = flags.DEFINE_string("queue", "", "jobset: Kueue's local queue.")


def main() -> int:
  from ml_collections import config_flags

  from scaling.sweeps import points, trials

  program.config_dict(_CONFIG)
  holder = flags.FLAGS["config"]
  config_file, _, variant = config_flags.get_config_filename(holder).partition(":")
  base = config_flags.get_override_values(holder)
  given = points.read_points(_POINTS.value) if _POINTS.value else None
  slice_ = points.parse_resources(_RESOURCES.value) if _RESOURCES.value else None
  expanded = trials.expand(config_file, variant, base, MODULE, given, slice_)
  if _DRY_RUN.value:
    from scaling.sweeps import cost

    print(cost.describe(expanded, _WORKDIR.value, _RATE.value, _SLOTS.value))
    return 0
  if _ENGINE.value in ("skypilot", "jobset"):
    from scaling.sweeps import cloud

    asked = cloud.Asked(_BUCKET.value, _IMAGE.value, _QUEUE.value)
    print(cloud.render(_ENGINE.value, expanded, _WORKDIR.value, asked))
    return 0
  from scaling.sweeps import local

  try:
    print(local.run(expanded, _WORKDIR.value, _ENGINE.value, _SLOTS.value, Watch()))
  except local.Stopped as error:
    raise program.Preempted(str(error)) from None
  except local.Failed as error:
    raise program.Fault(str(error)) from None
  return 0


class Watch:
  """How the trials stand: a bar of FLOPs spent where a person looks, a line per ended trial elsewhere."""

  def __init__(self) -> None:
    self._bar: Progress | None = None
    self._ended: set[str] = set()
    self._begun, self._before, self._spent = time.monotonic(), 0.0, 0.0

  def __enter__(self) -> Callable[[Sequence[State]], None]:
    return self._show

  def __exit__(self, *_) -> None:
    if self._bar is not None:
      self._bar.close()

  def _show(self, states: Sequence[State]) -> None:
    unit = "FLOP" if all(state.trial.flops for state in states) else "trial"

    def cost(*kinds: str) -> float:
      return sum(s.trial.flops if unit == "FLOP" else 1.0 for s in states if s.status in kinds)

    if self._bar is None:
      self._before = self._spent = cost("done")
      self._bar = Progress(cost("done", "running", "waiting", "lost", "failed"), "sweep", self._spent, unit)
    counts = {kind: sum(state.status == kind for state in states) for kind in ("done", "running", "failed")}
    made, self._spent = cost("done") - self._spent, cost("done")
    if self._bar.watched:
      self._bar.update(made, **counts)
    else:
      self._print_ended(states, cost("running", "waiting", "lost"), counts["done"] + counts["failed"])

  def _print_ended(self, states: Sequence[State], remaining: float, count: int) -> None:
    from scaling.sweeps.cost import clock

    made, elapsed = self._spent - self._before, time.monotonic() - self._begun
    left = f", {clock(elapsed * remaining / made)} left" if made else ""
    for state in states:
      if state.status in ("done", "failed") and state.seconds and state.trial.trial_id not in self._ended:
        self._ended.add(state.trial.trial_id)
        what = f"{state.trial.trial_id} {state.status} in {state.seconds:.0f} s"
        print(f"sweep: {what} ({count} of {len(states)}{left})", file=sys.stderr, flush=True)


if __name__ == "__main__":
  program.run(main)
