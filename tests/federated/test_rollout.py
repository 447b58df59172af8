"""Releases on their way: a bad one stops among the canaries, a good one reaches everybody, as often as promised."""

import math

import numpy as np
import pytest
from scipy import stats

from data.errors import BadInput
from federated import health, rollout
from federated.health import Limit
from federated.registry import Vehicle

FLEET = [Vehicle(f"car {k}", f"platform {k % 2}", "pair", f"region {k % 3}") for k in range(1000)]
SHARES = {"canary": 0.02, "group": 0.2, "fleet": 0.78}
LIMITS = {"takeovers": Limit(0.02, 0.05), "deadline misses": Limit(0.001, 0.02)}
RATES = {"takeovers": 0.02, "deadline misses": 0.001}
DAY = 86400.0


def begun(risk=0.05, looks=4):
  plan = rollout.Plan(8, rollout.stages(FLEET, SHARES, 8), LIMITS, risk, looks, DAY)
  return rollout.begin(plan, {vehicle.name: 7 for vehicle in FLEET}, 0.0)


def drive(rates, seed, trials=400):
  """The roll-out of a release with these rates: `trials` drives of its carriers between two looks."""
  rng, state, now = np.random.default_rng(seed), begun(), 0.0
  while state.status == "running":
    if state.since == now:
      counts, trials_so_far = dict.fromkeys(rates, 0), 0
    now, trials_so_far = now + DAY, trials_so_far + trials
    counts = {name: counts[name] + int(rng.binomial(trials, rate)) for name, rate in rates.items()}
    state = rollout.look(state, {name: (count, trials_so_far) for name, count in counts.items()}, now)
  return state


@pytest.mark.parametrize(("events", "trials"), [(0, 50), (3, 40), (40, 40), (20, 2000), (1, 1)])
def test_bounds_are_exact(events, trials):
  lower, upper = health.bounds(events, trials, 0.01)
  expected = stats.binomtest(events, trials).proportion_ci(0.98, "exact")
  np.testing.assert_allclose((lower, upper), (expected.low, expected.high), rtol=1e-9, atol=1e-15)


def test_a_bound_of_no_events_is_its_closed_form():
  assert math.isclose(health.bounds(0, 100, 0.05)[1], 1 - 0.05**0.01, rel_tol=1e-12)
  assert health.bounds(0, 0, 0.05) == (0.0, 1.0)


def test_a_regression_of_five_points_stops_in_the_canary_group():
  ends = [drive(RATES | {"takeovers": 0.07}, seed) for seed in range(60)]
  assert all(end.status == "stopped" for end in ends)
  assert sum(end.stage == 0 for end in ends) >= 57  # it leaves the canaries with probability 0.05 at most
  assert all(rollout.wanted(ends[0], vehicle.name) == 7 for vehicle in FLEET)
  assert "canary" in ends[0].reason and "takeovers" in ends[0].reason


def test_one_bad_metric_is_enough():
  ends = [drive(RATES | {"deadline misses": 0.05}, seed) for seed in range(20)]
  assert {(end.status, end.stage) for end in ends} == {("stopped", 0)}


def test_a_good_release_reaches_the_fleet():
  ends = [drive(RATES, seed) for seed in range(60)]
  done = [end for end in ends if end.status == "done"]
  assert len(done) >= 57  # it is called worse with probability 0.05 at most
  assert all(rollout.wanted(done[0], vehicle.name) == 8 for vehicle in FLEET)


def test_few_drives_settle_nothing_and_stop_it():
  state = drive({"takeovers": 0.0, "deadline misses": 0.0}, 0, trials=20)
  assert state.status == "stopped" and "unsettled in canary, look 4" in state.reason


def test_before_its_time_a_look_changes_nothing():
  state, counts = begun(), dict.fromkeys(LIMITS, (0, 10000))
  assert rollout.look(state, counts, DAY - 1) is state
  moved = rollout.look(state, counts, DAY)
  assert (moved.stage, moved.since) == (1, DAY)
  assert rollout.look(moved, counts, 2 * DAY - 1) is moved


def test_stages_part_the_fleet_and_canaries_are_of_every_kind():
  made = dict(rollout.stages(FLEET, SHARES, 8))
  assert sorted(name for own in made.values() for name in own) == sorted(v.name for v in FLEET)
  kinds = {(v.platform, v.region) for v in FLEET if v.name in made["canary"]}
  assert len(kinds) == 6 and 15 <= len(made["canary"]) <= 30
  assert dict(rollout.stages(FLEET, SHARES, 9))["canary"] != made["canary"]
  few = dict(rollout.stages(FLEET[:1], SHARES, 8))
  assert few == {"canary": {"car 0"}}


def test_only_who_joined_carries_it():
  state = begun()
  canary = state.plan.stages[0][1]
  assert {v.name for v in FLEET if rollout.wanted(state, v.name) == 8} == canary


@pytest.mark.parametrize(
  ("plan", "before", "says"),
  [
    ({}, {"a": 7}, "b is not in exactly one stage"),
    ({"stages": (("canary", frozenset("ab")), ("fleet", frozenset("b")))}, {"a": 7, "b": 7}, "b is not in exactly"),
    ({}, {"a": 7, "b": 8}, "b has version 8 already"),
    ({"limits": {}}, {"a": 7, "b": 7}, "0 limits"),
    ({"risk": 0.9}, {"a": 7, "b": 7}, "a risk of 0.9"),
  ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(plan, before, says):
  stages = (("canary", frozenset("a")), ("fleet", frozenset("b")))
  whole = {"release": 8, "stages": stages, "limits": LIMITS, "risk": 0.05, "looks": 4, "interval": 1.0} | plan
  with pytest.raises(BadInput, match=says):
    rollout.begin(rollout.Plan(**whole), before, 0.0)


def test_counts_that_make_no_sense_are_refused():
  with pytest.raises(BadInput, match="says nothing of deadline misses"):
    rollout.look(begun(), {"takeovers": (0, 1)}, DAY)
  with pytest.raises(BadInput, match="3 events in 2 trials"):
    health.bounds(3, 2, 0.05)
  with pytest.raises(BadInput, match="margin above 0"):
    Limit(0.1, 0.0)
  with pytest.raises(BadInput, match="shares above 0"):
    rollout.stages(FLEET, {"canary": 0.5, "fleet": 0.6}, 8)
