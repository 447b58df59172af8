"""How trials stand, from what a sweep leaves on disk; and what is left to do."""

import fcntl
import json

import pytest

from data.errors import BadInput
from scaling import status
from scaling.sweeps import cost, states, trials
from scaling.sweeps.points import Resources
from scaling.sweeps.states import AttemptLog, State


def toy(name: str, flops: float = 1e9, retries: int = 1, **more) -> trials.Trial:
  limits = {"max_hours": None, "resources": None} | more
  return trials.Trial(
    name, "module", (f"--x={name}",), f"runs/{name}", 0, 1000, "data", flops, retries, overrides={}, **limits
  )


def finish(trial: trials.Trial, root, **row) -> None:
  (root / trial.workdir).mkdir(parents=True)
  (root / trial.workdir / "result.json").write_text(json.dumps(row))


def stand(root, *given: trials.Trial, alive: bool = False) -> list[str]:
  return [state.status for state in states.read_states(given, root, alive)]


def test_every_status_is_told_by_the_disk_alone(tmp_path):
  done, running, begun, failed, bad, preempted, _fresh, elsewhere = given = [toy(c) for c in "abcdefgh"]
  log = AttemptLog(tmp_path)
  log.sweep("local", 2)
  finish(done, tmp_path)
  (tmp_path / running.workdir).mkdir()
  (tmp_path / elsewhere.workdir).mkdir()
  # Begun on another machine.
  (tmp_path / elsewhere.workdir / "attempts.jsonl").write_text('{"event":"start"}\n')
  for trial in (done, running, begun):
    log.start(trial)
  for trial, codes in ((failed, (1, -9)), (bad, (2,)), (preempted, (42, 42, 42, 1, 42))):
    for code in codes:
      log.start(trial)
      log.end(trial, code, 1.5)
  with open(tmp_path / running.workdir / "lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert stand(tmp_path, *given) == [
      "done", "running", "lost", "failed", "failed", "waiting", "waiting", "lost",
    ]  # fmt: skip
    assert stand(tmp_path, begun, alive=True) == ["running"]  # its process may not have come to its lock
  assert stand(tmp_path, running) == ["lost"]
  state = states.read_states([failed], tmp_path, False)[0]
  assert (state.faults, state.seconds, state.code) == (2, 3.0, -9)
  log.sweep("local", 2)  # the same command again: faults are forgiven, what is lost stays known
  assert stand(tmp_path, *given[1:6]) == ["lost", "lost", "waiting", "waiting", "waiting"]
  assert states.read_states([failed], tmp_path, False)[0].faults == 0


def test_a_line_that_a_kill_cut_short_is_left_out_and_spoils_no_other(tmp_path):
  log = AttemptLog(tmp_path)
  log.sweep("local", 2)
  with open(tmp_path / "attempts.jsonl", "a") as file:
    file.write('{"event":"start","tri')
  log.start(toy("a"))
  assert [record["event"] for record in states.read_attempts(tmp_path)] == ["sweep", "start"]
  (tmp_path / "attempts.jsonl").write_text("[1]\n")
  with pytest.raises(BadInput, match="no record of an attempt"):
    states.read_attempts(tmp_path)


def test_a_trial_whose_time_is_up_has_failed_for_good(tmp_path):
  log = AttemptLog(tmp_path)
  log.start(toy("a", retries=9))
  log.end(toy("a", retries=9), 42, 3600.0, states.OVERDUE)
  assert stand(tmp_path, toy("a", retries=9)) == ["failed"]


def test_time_left_is_work_over_pace(tmp_path):
  """1, 2 and 4 GFLOP at 1 GFLOP/s: 7 s one at a time, 4 s two at a time (the longest), less what was done."""
  waiting = [State(toy(str(n), n * 1e9)) for n in (1, 2, 4)]
  assert cost.seconds_left(waiting, 1e9, 1, 0.0) == 7.0
  assert cost.seconds_left(waiting, 1e9, 2, 0.0) == 4.0
  waiting[2].status, waiting[2].since = "running", 100.0
  assert cost.seconds_left(waiting, 1e9, 1, 103.0) == 4.0
  assert cost.seconds_left(waiting, 1e9, 1, 200.0) == 3.0
  assert cost.seconds_left([State(toy("x", 0.0))], 1e9, 1, 0.0) is None
  assert cost.seconds_left([State(toy("x"), "done"), State(toy("y"), "failed")], 1e9, 1, 0.0) == 0.0


def test_pace_is_measured_or_stated_never_assumed(tmp_path):
  one, two = given = [toy("a", 3.6e12), toy("b", 7.2e12)]
  text = cost.describe(given, tmp_path, 0.0, 2)
  assert "2 trials, 1.08e+13 FLOPs, 2e+03 tokens; 0 done" in text
  assert text.endswith("hours: unknown; state --flops_per_second, or let a run finish")
  assert "hours: 2 (2 at a time, 1e+09 FLOP/s each, stated)" in cost.describe(given, tmp_path, 1e9, 2)
  assert "a waiting 3.6e+12 FLOPs 1e+03 tokens 1 h --x=a" in cost.describe(given, tmp_path, 1e9, 2)
  finish(one, tmp_path, flops=3.6e12, seconds=1800.0)
  said = cost.describe(given, tmp_path, 0.0, 2)
  assert "hours: 1 (2 at a time, 2e+09 FLOP/s each, measured in 1 finished runs)" in said
  assert cost.measured_rate([State(two, "waiting")], tmp_path) is None
  late = toy("c", 7.2e12, max_hours=1.0, resources=Resources("v6e", "4x4", 4))
  with pytest.raises(BadInput, match=r"trial c: needs 2 h at 1e\+09 FLOP/s, above its 1 h"):
    cost.describe([late], tmp_path, 1e9, 1)


def test_status_says_what_is_left_and_how_to_continue(tmp_path, monkeypatch):
  monkeypatch.setattr("sys.argv", ["sweep", "--config=a b.py", "--workdir=w"])
  done, begun, _fresh = given = [toy("a", 1e9), toy("b", 2e9), toy("c", 4e9)]
  trials.write_trials(tmp_path / "trials.jsonl", given)
  assert "3 waiting; time left unknown" in status.describe(tmp_path, 0.0, 0.0)[1]
  log = AttemptLog(tmp_path)
  log.sweep("local", 2)
  finish(done, tmp_path, flops=1e9, seconds=1.0)
  log.start(begun)
  table, left, alive = status.describe(tmp_path, 0.0, 0.0)
  assert [line.split()[:2] for line in table.splitlines()[1:]] == [
    ["a", "done"],
    ["b", "lost"],
    ["c", "waiting"],
  ]
  assert "1 done, 0 running, 0 failed, 1 lost, 1 waiting; 0:04 left, 2 at a time" in left
  assert "python -m scaling.sweep '--config=a b.py' --workdir=w" in left and not alive
  with open(tmp_path / "lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    _, left, alive = status.describe(tmp_path, 0.0, 0.0)
  assert "1 running, 0 failed, 0 lost" in left and "to continue" not in left and alive
  with pytest.raises(BadInput, match="give the --workdir of a sweep"):
    status.describe(tmp_path / "none", 0.0, 0.0)
