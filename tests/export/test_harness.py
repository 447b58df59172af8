"""Schedules against closed forms on a clock that only work moves; planted slow pieces and answers that change."""

import numpy as np
import pytest

from data.errors import BadInput
from export.harness import Background, Task, drive


class FakeClock:
  """Time passes while something sleeps or works; `log` says what was begun when."""

  def __init__(self):
    self.time, self.log = 0.0, []

  def now(self) -> float:
    return self.time

  def sleep(self, until: float) -> None:
    assert until > self.time
    self.time = until

  def works(self, name: str, *seconds: float):
    """k -> array, in the k-th of these times, or the last one."""

    def work(k: int) -> dict[str, np.ndarray]:
      self.log.append((self.time, name))
      self.time += seconds[min(sum(own == name for _, own in self.log), len(seconds)) - 1]
      return {"plan": np.float32([k])}

    return work


def test_planning_comes_first_and_the_rest_is_filled():
  """Planning 2 of every 10, watching 3 of every 20, pieces of 4: all times are known."""
  clock = FakeClock()
  plan = Task("plan", 10.0, 5.0, 2, clock.works("plan", 2.0))
  watch = Task("watch", 20.0, 20.0, 1, clock.works("watch", 3.0))
  runs, pieces = drive([plan, watch], Background(4.0, clock.works("piece", 4.0)), 40.0, clock)
  own = [(0, "plan"), (2, "watch"), (5, "piece"), (10, "plan"), (12, "piece"), (16, "piece")]
  assert clock.log == own + [
    (at + 20, name) for at, name in own[:4]
  ]  # nothing is released after the last plan
  assert pieces == 4
  assert runs["plan"].responses_s == [2.0] * 4 and runs["watch"].responses_s == [5.0] * 2
  assert runs["plan"].missed == runs["watch"].missed == 0


def test_a_background_piece_is_begun_only_where_it_ends_in_time():
  clock = FakeClock()
  plan = Task("plan", 10.0, 5.0, 1, clock.works("plan", 2.0))
  runs, pieces = drive([plan], Background(9.0, clock.works("piece", 9.0)), 50.0, clock)
  assert pieces == 0 and runs["plan"].responses_s == [2.0] * 5


def test_a_piece_that_takes_longer_than_it_says_is_counted_and_not_begun_again():
  """The first piece ends at 9 + 2: planning waits for it once, and then for none."""
  clock = FakeClock()
  plan = Task("plan", 10.0, 5.0, 1, clock.works("plan", 2.0))
  runs, pieces = drive([plan], Background(1.0, clock.works("piece", 14.0)), 60.0, clock)
  assert pieces == 1
  assert runs["plan"].responses_s == [2.0, 8.0, 2.0, 2.0, 2.0, 2.0]  # released at 10, begun at 16
  report = runs["plan"].report()
  assert (report["runs"], report["missed"], report["response_ms"]["worst"]) == (6, 1, 8000.0)


def test_planning_that_is_late_once_is_late_until_it_has_caught_up():
  clock = FakeClock()
  plan = Task("plan", 10.0, 5.0, 1, clock.works("plan", 25.0, 4.0))
  runs, _ = drive([plan], None, 60.0, clock)
  assert runs["plan"].responses_s == [25.0, 19.0, 13.0, 7.0, 4.0, 4.0]
  assert runs["plan"].missed == 4


def test_equal_records_must_give_equal_bits():
  clock = FakeClock()
  same = Task("plan", 1.0, 1.0, 3, lambda record: {"plan": np.float32([record])})
  runs = [drive([same], None, 9.0, FakeClock())[0]["plan"] for _ in range(2)]
  assert not runs[0].unequal and len(runs[0].digests) == 3
  assert runs[0].report()["sha256"] == runs[1].report()["sha256"]

  asked = []

  def drifts(record: int) -> dict[str, np.ndarray]:
    asked.append(record)
    return {"plan": np.float32([record]) + (np.float32(1e-7) if len(asked) == 5 and record == 1 else 0)}

  planted = drive([Task("plan", 1.0, 1.0, 3, drifts)], None, 9.0, clock)[0]["plan"]
  assert planted.unequal == [(1, 4)]
  assert planted.report()["sha256"] != runs[0].report()["sha256"]


def test_a_deadline_longer_than_its_period_is_refused():
  with pytest.raises(BadInput, match="a deadline of 2"):
    drive([Task("plan", 1.0, 2.0, 1, lambda k: {})], None, 1.0, FakeClock())
