"""What a log file learns of how far a program is."""

import time

import pytest

from experiments.progress import Progress


@pytest.fixture
def clock(monkeypatch):
  """now[0] is the time in seconds; the test moves it."""
  now = [1000.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  return now


@pytest.mark.parametrize(("seconds", "steps", "lines"), [(0.001, 5000, 0), (1.0, 1000, 19), (60.0, 10, 10)])
def test_a_log_gets_few_lines_however_long_it_takes(clock, capsys, seconds, steps, lines):
  """One at the start, then at most one per ten seconds and per twentieth of the work."""
  with Progress(steps, "run") as bar:
    assert capsys.readouterr().err == f"run: step 0 of {steps}\n"
    for _ in range(steps):
      clock[0] += seconds
      bar.update(loss=0.25)
  said = capsys.readouterr().err.splitlines()
  assert abs(len(said) - lines) <= 1
  assert all("loss 0.25" in line for line in said)


def test_a_resumed_run_says_where_it_goes_on_and_a_step_back_is_not_repeated(clock, capsys):
  bar = Progress(100, "run", initial=40)
  for count in (10, -10, 10, 10):
    clock[0] += 20
    bar.update(count)
  assert capsys.readouterr().err.splitlines() == [
    "run: step 40 of 100", "run: step 50 of 100, 50% after 20 s", "run: step 60 of 100, 60% after 80 s",
  ]  # fmt: skip
