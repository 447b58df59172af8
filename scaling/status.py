"""How the trials of a sweep stand: python -m scaling.status --workdir=W [--watch].

done: result.json is there. running: a process works on it. failed: given up by the last call of the sweep. lost: begun,
no result, nobody works on it. waiting: not begun, or preempted. The command that started the sweep continues it.
"""

import pathlib
import shlex
import sys
import time

from absl import flags

from experiments import program

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the sweep.", required=True)
_WATCH = flags.DEFINE_bool("watch", False, "Show it again whenever it changes, until the sweep ends.")
_RATE = flags.DEFINE_float(
  "flops_per_second", 0.0, "FLOP/s of one trial, to estimate the time left; 0: measured.", 0.0
)
POLL_SECONDS = 2.0


def describe(root: pathlib.Path, stated: float, now: float) -> tuple[str, str, bool]:
  """The table of a sweep, what is left to do, and whether the sweep runs.

  Args:
    stated: FLOP/s of one trial; 0: as measured in its finished runs.
    now: as time.time().
  """
  from data.errors import BadInput
  from scaling.sweeps import cost, states, trials

  path = root / "trials.jsonl"
  if not path.exists():
    raise BadInput("no such file", path, "give the --workdir of a sweep")
  alive = states.is_locked(root / "lock")
  stand = states.read_states(trials.read_trials(path), root, alive)
  calls = [record for record in states.read_attempts(root) if record["event"] == "sweep"]
  slots = int(calls[-1]["slots"]) if calls else 1
  rate = stated or cost.measured_rate(stand, root)
  left = cost.seconds_left(stand, rate, slots, now) if rate else None
  counts = ", ".join(f"{sum(s.status == kind for s in stand)} {kind}" for kind in states.STATUSES)
  time_left = f"{cost.clock(left)} left, {slots} at a time" if left is not None else "time left unknown"
  lines = [f"{counts}; {time_left}"]
  if not alive and any(state.status != "done" for state in stand):
    command = shlex.join(calls[-1]["command"]) if calls else "scaling.sweep with the same flags"
    orphans = sum(state.status == "running" for state in stand)
    runs = f"no sweep runs here, though {orphans} of its trials still do" if orphans else "nothing runs here"
    lines.append(f"{runs}; to continue: {command}")
  return states.status_table(stand), "\n".join(lines), alive


def main() -> int:
  root, shown = pathlib.Path(_WORKDIR.value), ""
  watched = sys.stdout.isatty()
  while True:
    table, left, alive = describe(root, _RATE.value, time.time())
    if watched and shown:
      print(f"\033[{shown.count(chr(10)) + 1}F\033[J", end="")
    if watched or table != shown.partition("\n\n")[0]:
      shown = f"{table}\n\n{left}"
      print(shown, flush=True)
    if not (_WATCH.value and alive):
      return 0
    time.sleep(POLL_SECONDS)


if __name__ == "__main__":
  program.run(main)
