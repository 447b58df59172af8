"""Runs a config's sweep() and leaves runs.csv: python -m scaling.sweep --config=F.py[:variant] --workdir=W.

Run the same command again to continue: finished trials are kept, killed ones resume from their checkpoints.
W/trials.jsonl lists the trials, W/runs/<id> holds their run directories, W/logs/<id>.log what they printed.
--config.key=value holds for every trial, and is refused for a key that the sweep itself sets to another value.
"""

import sys
import time
from collections.abc import Callable

from absl import flags

from experiments import program
from experiments.progress import Progress
from scaling.slots import State

MODULE = "experiments.train"


_CONFIG = program.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Directory of the sweep; created, or continued.", required=True
)
_ENGINE = flags.DEFINE_enum("engine", "local", ["local"], "What runs the trials: this machine.")
_SLOTS = flags.DEFINE_integer("slots", 2, "Trials at a time; processors are shared equally.", lower_bound=1)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the trials and stop.")


def main() -> int:
  from ml_collections import config_flags

  program.config_dict(_CONFIG)
  holder = flags.FLAGS["config"]
  config_file, _, variant = config_flags.get_config_filename(holder).partition(":")
  base = config_flags.get_override_values(holder)
  if _DRY_RUN.value:
    from scaling import trials

    expanded = trials.expand(config_file, variant, base, MODULE)
    for trial in expanded:
      print(trial.trial_id, f"{trial.flops:.3g} FLOPs", *trial.argv)
    print(f"{len(expanded)} trials, {sum(t.flops for t in expanded):.3g} FLOPs")
    return 0
  from scaling import local

  try:
    print(local.run(config_file, variant, base, MODULE, _WORKDIR.value, _SLOTS.value, Watch()))
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

  def __enter__(self) -> Callable[[list[State]], None]:
    return self._show

  def __exit__(self, *_) -> None:
    if self._bar is not None:
      self._bar.close()

  def _show(self, states: list[State]) -> None:
    unit = "FLOP" if all(state.trial.flops for state in states) else "trial"

    def cost(*kinds: str) -> float:
      return sum(s.trial.flops if unit == "FLOP" else 1.0 for s in states if s.status in kinds)

    if self._bar is None:
      self._before = self._spent = cost("done")
      self._bar = Progress(cost("done", "running", "waiting", "failed"), "sweep", self._spent, unit)
    counts = {kind: sum(state.status == kind for state in states) for kind in ("done", "running", "failed")}
    made, self._spent = cost("done") - self._spent, cost("done")
    self._bar.update(made, **counts)
    if not self._bar.watched:
      self._print_ended(states, cost("running", "waiting"), counts["done"] + counts["failed"])

  def _print_ended(self, states: list[State], remaining: float, count: int) -> None:
    made, elapsed = self._spent - self._before, time.monotonic() - self._begun
    left = f", {_clock(elapsed * remaining / made)} left" if made else ""
    for state in states:
      if state.status in ("done", "failed") and state.seconds and state.trial.trial_id not in self._ended:
        self._ended.add(state.trial.trial_id)
        what = f"{state.trial.trial_id} {state.status} in {state.seconds:.0f} s"
        print(f"sweep: {what} ({count} of {len(states)}{left})", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
  minutes, rest = divmod(round(seconds), 60)
  return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


if __name__ == "__main__":
  program.run(main)
