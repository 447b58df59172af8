"""A model that changes while its vehicle drives: no frame without an answer, no end but a model that is well."""

import itertools

import pytest

from federated import swap
from federated.swap import Answering, Runtime, Timing

TIMING = Timing(fetch=100.0, warm=10.0, prove=1000.0)


def at(phase: str) -> Runtime:
  """A vehicle of version 7 that is as far as this with version 8."""
  states = [Runtime(7)]
  states.append(swap.offered(states[-1], 8, 1.0))
  states.append(swap.verified(states[-1], True, 2.0))
  states.append(swap.warmed(states[-1], True, 3.0))
  states.append(swap.frame(states[-1], 4.0))
  return {state.phase: state for state in states}[phase]


PHASES = ["driving", "fetching", "warming", "ready", "proving"]


def test_all_goes_well():
  assert [at(phase).active for phase in PHASES] == [7, 7, 7, 7, 8]
  end = swap.ticked(at("proving"), TIMING, 1004.0)
  assert (end.active, end.phase, end.kept) == (8, "driving", None)


@pytest.mark.parametrize("phase", PHASES)
def test_a_vehicle_that_dies_comes_back_with_the_old_one(phase):
  back = swap.restarted(at(phase), 5.0)
  assert (back.active, back.phase, back.coming, back.kept) == (7, "driving", None, None)


def test_one_that_dies_once_it_has_proved_itself_comes_back_with_the_new_one():
  assert swap.restarted(swap.ticked(at("proving"), TIMING, 1004.0), 1005.0).active == 8


@pytest.mark.parametrize(
  ("state", "refused"),
  [
    (swap.verified(at("fetching"), False, 5.0), set()),  # fetched again
    (swap.ticked(at("fetching"), TIMING, 102.0), set()),
    (swap.ticked(at("warming"), TIMING, 13.0), set()),
    (swap.warmed(at("warming"), False, 5.0), {8}),  # never again
    (swap.unwell(at("proving"), 5.0), {8}),
    (swap.offered(at("proving"), 7, 5.0), {8}),  # the roll-out was stopped
    (swap.frame(swap.offered(at("ready"), 7, 5.0), 5.5), set()),  # before it drove
    (swap.verified(swap.offered(at("fetching"), 7, 5.0), True, 5.5), set()),
    (swap.warmed(swap.offered(at("warming"), 9, 5.0), True, 5.5), set()),
  ],
)
def test_whatever_goes_wrong_ends_with_the_old_one(state, refused):
  assert (state.active, state.phase, state.refused) == (7, "driving", refused)
  assert swap.offered(state, 8, 6.0).phase == ("driving" if refused else "fetching")


def test_no_order_of_events_makes_a_model_active_that_was_not_verified_and_warmed():
  events = {
    "offer": lambda s: swap.offered(s, 8, 1.0),
    "withdrawn": lambda s: swap.offered(s, 7, 1.0),
    "good": lambda s: swap.verified(s, True, 1.0),
    "bad": lambda s: swap.verified(s, False, 1.0),
    "warm": lambda s: swap.warmed(s, True, 1.0),
    "cold": lambda s: swap.warmed(s, False, 1.0),
    "frame": lambda s: swap.frame(s, 1.0),
    "dies": lambda s: swap.restarted(s, 1.0),
  }
  for order in itertools.product(events, repeat=5):
    state, seen = Runtime(7), ""
    for name in order:
      before, state = state, events[name](state)
      seen = seen + f"{name} " if state.phase != before.phase else seen
    if state.active == 8:
      assert seen.startswith("offer good warm frame"), order


def test_every_frame_is_answered_by_one_whole_model():
  said = {7: lambda record: ("old", record), 8: lambda record: ("new", record)}
  runtime, answers = Answering(Runtime(7), said[7]), []
  for number in range(8):
    if number == 2:
      runtime.state = swap.verified(swap.offered(runtime.state, 8, 2.0), True, 2.0)
    if number == 4:
      runtime.warm(said[8], 0, 4.0)
    answers.append(runtime(number, float(number)))
  assert answers == [(7, ("old", n)) for n in range(4)] + [(8, ("new", n)) for n in range(4, 8)]
  assert set(runtime.models) == {7, 8}  # the old one is kept until the new one has proved itself
  runtime.state = swap.ticked(runtime.state, TIMING, 2000.0)
  runtime(8, 2001.0)
  assert set(runtime.models) == {8}


def fails(record):
  raise RuntimeError("out of memory")


def test_a_model_that_fails_is_replaced_in_the_same_frame():
  runtime = Answering(at("warming"), str)
  runtime.models = {7: str}
  calls = iter([None, None])
  runtime.warm(lambda record: next(calls), 0, 3.0)
  assert runtime(1, 4.0) == (8, None)
  assert runtime(2, 5.0) == (7, "2")  # StopIteration: the old one answers
  assert runtime.state.refused == {8} and set(runtime.models) == {7}


def test_a_model_that_cannot_be_warmed_never_drives():
  runtime = Answering(at("warming"), str)
  runtime.warm(fails, 0, 3.0)
  assert runtime(1, 4.0) == (7, "1")
  with pytest.raises(RuntimeError, match="out of memory"):
    Answering(Runtime(7), fails)(1, 0.0)  # nothing to go back to
