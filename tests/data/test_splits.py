"""Grouped splits: what shows the same thing stays together, whatever the order, seed or domain."""

import dataclasses
import itertools
import random
from collections import Counter

import numpy as np
import pytest

from data import splits, traces
from data.errors import BadInput
from data.schema import Metadata
from tests.data.us101 import read_traces
from tests.worlds import straight_scene

FRACTIONS = {"train": 0.8, "tune": 0.06, "validation": 0.14}


def make_trace(name: str, series=(), seconds: float = 10.0, **metadata) -> traces.Trace:
  values = {
    "scene_id": name, "source": "sumo", "domain": "urban", "geography": "", "route": "", "map_id": name,
    "recording": name, "start_s": -1.0, "dt": 0.5,
  } | metadata  # fmt: skip
  return traces.Trace(Metadata(**values), seconds, np.array(sorted(series), np.uint64))


def many(count: int, **metadata) -> list[traces.Trace]:
  return [make_trace(f"{metadata.get('domain', 'urban')}{i}", **metadata) for i in range(count)]


@pytest.mark.parametrize("field", ["map_id", "route", "recording"])
def test_scenes_that_share_a_field_stay_together(field):
  pool = [*many(3), *(make_trace(f"x{i}", **{field: "same"}) for i in range(3)), make_trace("y")]
  assert splits.groups(pool, "recording") == [[0], [1], [2], [3, 4, 5], [6]]
  other_source = make_trace("z", **{field: "same", "source": "commonroad"})
  assert splits.groups([*pool, other_source], "recording")[-1] == [7]
  by_overlap = splits.groups(pool, "overlap")
  assert ([3, 4, 5] in by_overlap) == (field == "map_id")


def test_scenes_that_share_a_simulation_seed_stay_together():
  pool = [*many(30), make_trace("a", seed=5), make_trace("b", seed=5), make_trace("c", seed=-1)]
  assert splits.groups(pool, "recording")[30:] == [[30, 31], [32]]


def test_groups_are_transitive():
  pool = [make_trace("a", [1, 2]), make_trace("b", [2, 3]), make_trace("c", [3]), make_trace("d", [4])]
  assert splits.groups(pool, "overlap") == [[0, 1, 2], [3]]
  pool = [make_trace("a", [1]), make_trace("b", [2]), make_trace("c", [1, 2]), make_trace("d", [4])]
  assert splits.groups(pool, "overlap") == [[0, 1, 2], [3]]


def test_frames_of_one_recording_close_in_time_stay_together():
  def cut(name, start):
    return make_trace(name, recording="drive", start_s=start, seconds=10.0)

  gap = traces.NEAR_S
  pool = [cut("a", 0.0), cut("b", 10.0 + gap - 1), cut("c", 1000.0), cut("d", -1.0)]
  assert splits.groups(pool, "overlap") == [[0, 1], [2], [3]]
  assert splits.groups(pool, "recording") == [[0, 1, 2, 3]]


def test_same_result_in_any_order_and_for_the_same_seed_only():
  pool = [*many(40, domain="urban"), *many(25, domain="rural")]
  first = splits.assign(pool, FRACTIONS, 3, "recording")
  shuffled = random.Random(1).sample(pool, len(pool))
  assert splits.assign(shuffled, FRACTIONS, 3, "recording") == first
  assert splits.assign(pool, FRACTIONS, 4, "recording") != first


@pytest.mark.parametrize("count", [3, 4, 8, 50])
def test_every_domain_is_in_every_split(count):
  pool = [*many(count, domain="urban"), *many(count + 1, domain="rural"), *many(3, domain="apron")]
  chosen = splits.assign(pool, FRACTIONS, 0, "recording")
  found = {(t.metadata.domain, chosen[t.metadata.scene_id]) for t in pool}
  assert found == set(itertools.product(("urban", "rural", "apron"), FRACTIONS))


@pytest.mark.parametrize("count", [3, 4, 10, 30])
def test_domains_of_one_group_are_spread_and_leave_no_split_empty(count):
  pool = [make_trace(f"s{i}", domain=f"d{i}") for i in range(count)]
  for seed in range(4):
    sizes = Counter(splits.assign(pool, FRACTIONS, seed, "recording").values())
    assert set(sizes) == set(FRACTIONS) and sum(sizes.values()) == count
    assert all(abs(sizes[name] - count * share) <= 1.5 for name, share in FRACTIONS.items())


def test_sizes_follow_the_fractions_to_one_group():
  chosen = splits.assign(many(200), FRACTIONS, 0, "recording")
  counts = Counter(chosen.values())
  for name, fraction in FRACTIONS.items():
    assert abs(counts[name] - 200 * fraction) <= 1


def test_a_heavy_group_does_not_empty_the_training_split():
  heavy = [make_trace(f"h{i}", map_id="one") for i in range(30)]
  chosen = splits.assign([*heavy, *many(10)], FRACTIONS, 0, "recording")
  assert {chosen[f"h{i}"] for i in range(30)} == {"train"}
  assert set(chosen.values()) == set(FRACTIONS)


def test_what_fractions_few_scenes_cannot_keep_is_told():
  few, many_more = (
    Counter(splits.assign(many(count), FRACTIONS, 0, "recording").values()) for count in (3, 20)
  )
  assert splits.departure(few, FRACTIONS) == (
    "fractions cannot be kept: asked for train 80%, tune 6%, validation 14%;"
    " 3 scenes are split into train 33%, tune 33%, validation 33%"
  )
  assert splits.departure(many_more, FRACTIONS) == ""


def test_too_few_groups_repeated_ids_and_wrong_fractions_are_refused():
  with pytest.raises(BadInput, match="form 1 groups by recording"):
    splits.assign([make_trace(n, map_id="one") for n in "abcd"], FRACTIONS, 0, "recording")
  with pytest.raises(BadInput, match="'a' occurs 2 times"):
    splits.assign([make_trace("a"), make_trace("a"), make_trace("b")], FRACTIONS, 0, "recording")
  for fractions in ({}, {"train": 0.5}, {"train": 1.5, "tune": -0.5}):
    with pytest.raises(BadInput, match="add up to 1"):
      splits.assign(many(9), fractions, 0, "recording")
  with pytest.raises(BadInput, match="choose one of recording, overlap"):
    splits.assign(many(9), FRACTIONS, 0, "frame")


def test_traces_recognise_the_same_vehicle_in_another_cut():
  scene = straight_scene(steps=60, agents=3, seed=1)
  early, late = cut(scene, 0, 45), cut(scene, 10, 60)
  other = straight_scene(steps=60, agents=3, seed=2)
  found = list(traces.same_traffic([traces.trace(s) for s in (early, late, other)]))
  assert found == [(0, 1)]
  # Less than 30 shared frames, or a vehicle that cruises, prove nothing.
  assert not list(traces.same_traffic([traces.trace(s) for s in (cut(scene, 0, 30), cut(scene, 1, 60))]))
  still = dataclasses.replace(scene, velocity_TxAx2=np.full_like(scene.velocity_TxAx2, 7.0))
  assert len(traces.trace(still).series) == 0


def cut(scene, start: int, stop: int):
  """Frames start to stop of a scene."""
  names = ("position_TxAx2", "heading_TxA", "velocity_TxAx2", "valid_TxA", "lane_TxA", "signal_TxL")
  return dataclasses.replace(scene, **{name: getattr(scene, name)[start:stop] for name in names})


def test_us101_groups_contain_the_known_overlaps(shared_data):
  """The groups of scenarios that share an exact 30-step velocity series, joined transitively."""
  known = [
    {"1_1_T", "1_1_S", "1_2", "13_1", "13_4", "14_1", "14_5", "23_1", "23_2", "24_1", "24_2"},
    {"9_1", "9_3", "19_1", "19_2", "20_1", "20_2", "25_1", "25_2", "28_1", "28_2"},
    {"4_1", "4_3", "18_1", "18_2", "27_1", "27_3"},
    {"5_1", "5_2", "15_1", "15_2"},
  ]
  pairs = "2_1/2_2 3_1/3_4 6_1/6_3 7_1/7_3 8_1/8_4 10_1/10_3 11_1/11_3 12_1/12_3 16_1/16_2 17_1/17_2"
  pairs += " 21_1/21_2 22_1/22_3 26_1/26_2 29_1/29_2"
  known += [set(pair.split("/")) for pair in pairs.split()]
  seen = read_traces(shared_data("ngsim_us101"))

  def short(trace):
    number, variant, kind = trace.metadata.scene_id.removeprefix("USA_US101-").split("_")
    return f"1_1_{kind[0]}" if (number, variant) == ("1", "1") else f"{number}_{variant}"

  found = [{short(seen[i]) for i in group} for group in splits.groups(seen, "overlap")]
  for group in known:
    group &= {short(t) for t in seen}
    assert any(group <= other for other in found), group
  chosen = splits.assign(seen, FRACTIONS, 0, "overlap")
  numbers = {(t.metadata.map_id, chosen[t.metadata.scene_id]) for t in seen}
  assert len(numbers) == len({map_id for map_id, _ in numbers}), "equal <n> stays together"
  assert set(chosen.values()) == set(FRACTIONS)
