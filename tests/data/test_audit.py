"""The six leaks, each planted and found; a clean split raises nothing; what else an audit reports."""

import dataclasses
import json
import random
import subprocess
import sys

import numpy as np
import pytest

from data import audit, duplicates, leaks, splits, traces
from data.datasets import open_dataset
from data.schema import Metadata
from data.windows import windows_of
from tests.data import tiny_datasets
from tests.data.us101 import read_traces
from tests.worlds import straight_scene

NONE: tuple[int, ...] = ()


def make_trace(number: int, series=NONE, **metadata) -> traces.Trace:
  values = {
    "scene_id": f"scene-{number}", "source": "sumo", "domain": "urban", "geography": "here",
    "route": f"route-{number}", "map_id": f"map-{number}", "recording": f"drive-{number}", "start_s": 0.0,
    "dt": 0.5, "date": "2024-05-17", "map_date": "2024-05-17", "seed": number, "label_source": "simulator",
  } | metadata  # fmt: skip
  return traces.Trace(Metadata(**values), 20.0, np.array(sorted(series), np.uint64))


def clean(count: int = 20) -> dict[str, list[traces.Trace]]:
  found = [make_trace(i, [1000 * i, 1000 * i + 1]) for i in range(count)]
  return {"train": found[: count // 2], "tune": [], "validation": found[count // 2 :]}


def planted(**metadata) -> dict[str, list[traces.Trace]]:
  """A clean split and one more validation scene with this metadata."""
  parts = clean()
  parts["validation"].append(make_trace(99, **metadata))
  return parts


def kinds(parts) -> set[str]:
  return {kind for kind, found in leaks.find(parts).items() if found}


def test_a_clean_split_raises_nothing():
  assert kinds(clean()) == set() and set(leaks.find(clean())) == set(leaks.KINDS)
  # Unknown day, map date or seed, and the same route on another day, are no leak.
  assert kinds(planted(date="", map_date="2030-01-01", seed=-1)) == set()
  assert kinds(planted(route="route-1", date="2024-05-18")) == set()
  # Everything may be shared within one split.
  assert kinds(planted(route="route-15", seed=15, recording="drive-15")) == set()


@pytest.mark.parametrize(
  ("kind", "metadata"),
  [
    ("adjacent_frames", {"recording": "drive-3", "start_s": 20.0 + traces.NEAR_S - 1}),
    ("adjacent_frames", {"series": [3000]}),
    ("same_route_same_day", {"route": "route-3"}),
    ("same_route_same_day", {"route": "route-3", "date": ""}),
    ("future_map", {"map_date": "2024-05-18"}),
    ("future_map", {"map_date": "2024-06"}),
    ("future_teacher", {"label_source": "teacher", "label_horizon_s": 2.0}),
    ("scene_identity", {"sensor_rig": "scene-99"}),
    ("scene_identity", {"weather": "drive-99"}),
    ("scene_identity", {"rare_events": ("hard_brake", "in_validation")}),
    ("scene_identity", {"domain": "scene-99"}),
    ("shared_seed", {"seed": 3}),
  ],
)
def test_each_planted_leak_is_found_and_nothing_else(kind, metadata):
  assert kinds(planted(**metadata)) == {kind}
  (leak,) = leaks.find(planted(**metadata))[kind]
  assert leak.kind == kind and "validation" in leak.splits
  assert any(word in leak.what for word in ("scene-99", "route-3", "seed 3"))


def test_no_leak_where_the_line_is():
  assert kinds(planted(recording="drive-3", start_s=20.0 + traces.NEAR_S + 1)) == set()
  assert kinds(planted(map_date="2024-05")) == set()
  assert kinds(planted(label_source="teacher", label_horizon_s=0.0)) == set()
  assert kinds(planted(label_horizon_s=2.0, label_source="sensor")) == set()  # smoothing: a note
  assert kinds(planted(source="commonroad", route="route-3", seed=3, recording="drive-3")) == set()
  assert kinds(planted(domain="route-99")) == set()  # a domain may be a place


def test_a_field_with_a_value_of_its_own_for_every_scene_identifies_it():
  parts = {
    split: [
      dataclasses.replace(t, metadata=dataclasses.replace(t.metadata, sensor_rig=f"rig {t.metadata.seed}"))
      for t in items
    ]
    for split, items in clean().items()
  }
  assert kinds(parts) == {"scene_identity"}


def test_paths_that_name_a_scene_are_found():
  def found(*paths):
    return [leak.what for leak in leaks.identity_in_paths(clean(), paths)]

  assert found("windows/1.0.0/windows-train.array_record-00000-of-00001", "dataset.json") == []
  assert found("scenes/scene-3.array_record", "a/b") == ["the path scenes/scene-3.array_record names scene-3"]
  assert found("route-12/x.array_record") == ["the path route-12/x.array_record names route-12"]


def test_inputs_that_are_a_name_of_the_scene_are_found():
  windows = [
    windows_of(straight_scene(steps=20, agents=4, dt=0.5, seed=i), tiny_datasets.WINDOW, 0) for i in range(10)
  ]
  assert list(leaks.identity_in_windows(windows)) == []
  for number, scene in enumerate(windows):
    for window in scene:
      window["features_TxAxF"][..., 8] = 0.01 * (number + 1)
  (leak,) = leaks.identity_in_windows(windows)
  assert leak.what.startswith("features column 8") and leak.kind == "scene_identity"
  assert list(leaks.identity_in_windows(windows[:7])) == []  # too few to tell
  for number, scene in enumerate(windows):
    for window in scene:
      window["features_TxAxF"][..., 8] = 0.01
      window["domain"] = np.uint8(number + 1)
  assert [leak.what.split()[0] for leak in leaks.identity_in_windows(windows)] == ["domain"]


def test_a_naive_split_of_us101_leaks_and_a_grouped_one_only_shares_the_road(shared_data):
  seen = read_traces(shared_data("ngsim_us101"))
  shuffled = random.Random(0).sample(seen, len(seen))
  fifth = len(seen) // 5
  assert kinds({"train": shuffled[fifth:], "validation": shuffled[:fifth]}) == {
    "adjacent_frames", "same_route_same_day",
  }  # fmt: skip
  chosen = splits.assign(seen, {"train": 0.8, "validation": 0.2}, 0, "overlap")
  grouped = {s: [t for t in seen if chosen[t.metadata.scene_id] == s] for s in ("train", "validation")}
  assert kinds(grouped) == {"same_route_same_day"}
  assert any("smoothed" in note for note in audit.notes(grouped))


def test_near_duplicates_against_a_known_answer():
  mask, group = np.ones((4, 8, 4), bool), np.ones((4, 4), np.uint8)
  truth = np.random.default_rng(0).normal(0, 20, (4, 9, 4, 2)).astype(np.float32)
  train = duplicates.signatures(mask, group, truth, 0.25)
  assert train.shape == (4, 18) and np.abs(train / 0.25 - np.round(train / 0.25)).max() == 0
  np.testing.assert_allclose(train[2].reshape(3, 3, 2), truth[2][[0, 4, 8], :3].swapaxes(0, 1), atol=0.13)
  shifted = duplicates.signatures(mask[:2], group[:2], truth[:2] + np.float32([3, 4]), 0.25)
  np.testing.assert_allclose(duplicates.nearest(shifted, train), 5, atol=0.05)
  assert duplicates.nearest(train, train).max() == 0
  assert (
    np.isinf(duplicates.nearest(train, train[:0])).all() and len(duplicates.nearest(train[:0], train)) == 0
  )


def test_standing_situations_are_told_from_moving_ones():
  truth = np.zeros((3, 9, 3, 2), np.float32)
  truth[1, :, 2, 1] = np.linspace(0, 2.5, 9)
  truth[2, :, 0, 0] = np.linspace(0, -1.5, 9)
  found = duplicates.signatures(np.ones((3, 8, 3), bool), np.ones((3, 3), np.uint8), truth, 0.25)
  assert duplicates.moving(found).tolist() == [False, True, False]


def test_situations_are_the_groups_of_a_window_not_its_slots():
  truth = np.arange(6, dtype=np.float32)[None, None, :, None] * np.ones((1, 9, 6, 2), np.float32)
  mask, group = np.ones((1, 8, 6), bool), np.array([[1, 1, 1, 2, 2, 2]], np.uint8)
  first, second = duplicates.signatures(mask, group, truth, 0.25).reshape(2, 3, 3, 2)
  assert first[:, 0, 0].tolist() == [0, 1, 2] and second[:, 0, 0].tolist() == [3, 4, 5]
  mask[0, 3, 4] = False  # an agent that is not there throughout does not count, and leaves too few
  assert len(duplicates.signatures(mask, group, truth, 0.25)) == 1


def test_the_report_of_a_dataset(tmp_path):
  out = tmp_path / "dataset"
  tiny_datasets.write(out, tiny_datasets.scene_examples(8))
  report = audit.audit(open_dataset(out), [])
  assert all(found["count"] == 0 for found in report["leaks"].values())
  assert report["stop_share"] == {"straight": 0.0, "all": 0.0}
  assert report["coverage"]["domain"] == {"straight": {"train": 4, "validation": 4}}
  assert report["coverage"]["dt"] == {"train": [0.5, 0.5], "validation": [0.5, 0.5]}
  assert 0 <= report["near_duplicate_share"] <= 1 and "LEAK" not in audit.table(report)


def test_held_out_copies_are_counted_as_duplicates(tmp_path):
  copies = [
    (split, dataclasses.replace(scene, metadata=dataclasses.replace(scene.metadata, scene_id=f"{split[:1]}{i}")), w)
    for i, (_, scene, w) in enumerate(tiny_datasets.scene_examples(4, ("train",)))
    for split in ("train", "validation")
  ]  # fmt: skip
  out = tmp_path / "dataset"
  tiny_datasets.write(out, copies)
  report = audit.audit(open_dataset(out), [])
  assert report["near_duplicate_share"] == 1.0 and report["near_duplicates"]["moving_share"] == 1.0


def test_the_program_exits_1_on_a_leak_until_it_is_accepted(tmp_path):
  def leaking():
    for split, scene, windows in tiny_datasets.scene_examples(4):
      yield split, dataclasses.replace(scene, metadata=dataclasses.replace(scene.metadata, seed=7)), windows

  out = tmp_path / "dataset"
  tiny_datasets.write(out, leaking())

  def run(*extra):
    command = [sys.executable, "-m", "data.audit", f"--dataset={out}", *extra]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)

  first = run()
  assert first.returncode == 1 and "simulation seed 7 is in train, validation" in first.stdout
  report = json.loads((out / "audit.json").read_text())
  assert report["leaks"]["shared_seed"]["count"] == 1 and not report["leaks"]["shared_seed"]["accepted"]
  assert {"leaks", "near_duplicate_share", "stop_share", "coverage", "notes", "accepted"} <= set(report)
  assert run("--accept=shared_seed").returncode == 0
  wrong = run("--accept=shared_sed")
  assert wrong.returncode == 2 and "did you mean shared_seed?" in wrong.stderr
