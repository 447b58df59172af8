"""What a person sees of a sweep while it runs."""

import io
import sys

from scaling import sweep
from scaling.sweeps import states, trials


def toy(name: str, flops: float) -> trials.Trial:
  return trials.Trial(name, "module", (), f"runs/{name}", 0, 1, "data", flops, 0, None, None, {})


def states_of(trial_count: int, done: int, failed: int = 0) -> list[states.State]:
  made = [toy(f"t{i}", 1e9 * 10**i) for i in range(trial_count)]
  kinds = ["done"] * done + ["failed"] * failed + ["running"] * (trial_count - done - failed)
  return [
    states.State(t, kind, seconds=3.0 * (kind != "running")) for t, kind in zip(made, kinds, strict=True)
  ]


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_the_bar_counts_compute_not_trials(monkeypatch):
  """Trials of 1, 10 and 100 GFLOP: two of three are done, but a tenth of the work."""
  monkeypatch.setattr(sys, "stderr", Terminal())
  with sweep.Watch() as show:
    show(states_of(3, 0))
    show(states_of(3, 2))
  last = sys.stderr.getvalue().split("\r")[-1]
  assert "10%" in last and "11.0G/111G" in last and "done=2, running=1, failed=0" in last


def test_a_log_gets_a_line_per_ended_trial(capsys):
  with sweep.Watch() as show:
    for done in (0, 1, 1):
      show(states_of(3, done))
    show(states_of(3, 1, failed=1))
  begin, first, second = capsys.readouterr().err.splitlines()
  assert begin == "sweep: FLOP 0 of 111G"
  assert first.startswith("sweep: t0 done in 3 s (1 of 3, ") and first.endswith(" left)")
  assert second.startswith("sweep: t1 failed in 3 s (2 of 3")
