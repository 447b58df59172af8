"""data.build as its users run it: in a process of its own, on generated logs and simulated worlds."""

import json
import pathlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from data import datasets, sumo
from data.reader import RecordSource
from data.windows import windows_of
from tests.data.test_commonroad import ROAD, car, scenario, state

ROOT = pathlib.Path(__file__).resolve().parents[2]


def build(source: str, out: pathlib.Path, *arguments: str, code: int = 0) -> str:
  command = [sys.executable, "-m", "data.build", f"--source={source}", f"--out={out}", *arguments]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
  assert done.returncode == code, done.stdout + done.stderr
  assert code == 0 or "Traceback" not in done.stderr
  return done.stdout if code == 0 else done.stderr


def write_log(folder: pathlib.Path, number: int, seed: int, first: int = 0, dt: str = "0.1") -> None:
  """4 s of one car whose speed wanders by `seed`, from frame `first` of its drive on."""
  speed = 10 + np.cumsum(np.random.default_rng(seed).normal(0, 0.1, 60))[first : first + 40]
  along = np.cumsum(speed * 0.1)
  tags = ["initialState"] + ["state"] * 39
  states = [
    state(tag, i, x, 0.0, speed=v) for i, (tag, x, v) in enumerate(zip(tags, along, speed, strict=True))
  ]
  name = f"USA_Test101-{number}_1_T-1"
  (folder / f"{name}.xml").write_text(
    scenario(ROAD + car(5, states), benchmark=name, dt=dt), encoding="utf-8"
  )


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
  """18 logs, two of them cut from one drive; one that is torn, one at a rate that tokens cannot have."""
  folder = tmp_path_factory.mktemp("logs")
  for number in range(1, 18):
    write_log(folder, number, seed=number)
  write_log(folder, 18, seed=5, first=8)
  write_log(folder, 19, seed=19, dt="0.3")
  (folder / "USA_Test101-20_1_T-1.xml").write_text("<commonRoad", encoding="utf-8")
  return folder


def test_recorded_logs_become_a_dataset_whatever_the_workers(logs, tmp_path):
  one = build("commonroad", tmp_path / "one", f"--input={logs}", "--workers=1", "--fractions=0.6,0.2,0.2")
  build("commonroad", tmp_path / "three", f"--input={logs}", "--workers=3", "--fractions=0.6,0.2,0.2")
  dataset, other = (datasets.open_dataset(tmp_path / name) for name in ("one", "three"))
  assert dataset.manifest == other.manifest, "files, hashes and all"

  splits = dataset.manifest["splits"]
  assert [splits[name]["scenes"] for name in ("train", "tune", "validation")] == [10, 4, 4]
  assert all(count["tokens"] == 7 * count["scenes"] for count in splits.values()), "7 moves of 0.5 s in 4 s"
  assert dataset.domains == ("test101",)
  home = {s.metadata.map_id: split for split in splits for s in dataset.scenes(split)}
  assert len(home) == 18 and home["USA_Test101-5"] == home["USA_Test101-18"], "one drive stays together"

  notes = dataset.manifest["notes"]
  torn, strange = notes["unusable"]
  assert "Test101-20" in torn and "0.3 s does not divide" in strange and notes["scenes"] == 20
  assert notes["arguments"]["split_by"] == "overlap" and notes["arguments"]["fractions"] == [
    "0.6",
    "0.2",
    "0.2",
  ]
  assert "left out: " in one and "train          10 scenes" in one
  assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "three"]


def test_too_many_torn_logs_stop_the_build_and_leave_nothing(logs, tmp_path):
  folder = tmp_path / "logs"
  folder.mkdir()
  for number in range(1, 5):
    write_log(folder, number, seed=number)
    (folder / f"USA_Test101-{number}_2_T-1.xml").write_text("<commonRoad", encoding="utf-8")
  error = build("commonroad", tmp_path / "d", f"--input={folder}", code=2)
  last = error.splitlines()[-1]
  assert last.startswith("error: logs: 2 of 8 scenes are unusable, the last: ") and "Test101-2_2" in last
  assert [p.name for p in tmp_path.iterdir()] == ["logs"]


def test_when_no_log_is_usable_the_last_cause_is_told(logs, tmp_path):
  folder = tmp_path / "logs"
  folder.mkdir()
  (folder / "scenario_0.parquet").write_bytes(b"PAR1 but no more")
  error = build("argoverse2", tmp_path / "d", f"--input={folder}", code=2)
  assert "1 of 1 scenes are unusable, the last: " in error and "scenario_0" in error
  (folder / "USA_Test101-1_1_T-1.xml").write_text("<commonRoad", encoding="utf-8")
  write_log(folder, 2, seed=2)
  error = build("commonroad", tmp_path / "d", f"--input={folder}", code=2)
  assert "1 scenes form 1 groups" in error and "1 of 2 logs are unusable, the last: " in error
  assert "Test101-1_1" in error and [p.name for p in tmp_path.iterdir()] == ["logs"]


def test_logs_of_one_road_are_not_split_by_recording(logs, tmp_path):
  error = build("commonroad", tmp_path / "d", f"--input={logs}", "--split_by=recording", code=2)
  assert "19 scenes form 1 groups by recording" in error and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  ("source", "arguments", "message"),
  [
    ("commonroad", (), "--input: is ''"),
    ("sumo", ("--input=x",), "--input: is 'x' for sumo"),
    ("sumo", ("--fractions=0.8,0.2",), "--fractions: not three numbers"),
    ("sumo", ("--fractions=0.8,0.2,0.2",), "give positive fractions that add up to 1"),
    ("sumo", ("--dt=0.3337",), "whole milliseconds"),
    ("sumo", ("--worker=1",), "did you mean --workers?"),
    ("argoverse2", ("--input=nowhere",), "nowhere: holds no scenario_"),
  ],
)
def test_wrong_arguments_are_answered_with_a_sentence(source, arguments, message, tmp_path):
  assert message in build(source, tmp_path / "d", *arguments, code=2)
  assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_refused_before_any_work(tmp_path):
  assert "exists already" in build("sumo", tmp_path, code=2)


def test_simulated_worlds_are_in_every_split(tmp_path):
  build("sumo", tmp_path / "d", "--scenes_per_domain=3", "--steps=8", "--seed=3")
  dataset = datasets.open_dataset(tmp_path / "d")
  assert dataset.domains == tuple(sorted(sumo.DOMAINS))
  scenes = {split: list(dataset.scenes(split)) for split in dataset.manifest["splits"]}
  for split, there in scenes.items():
    assert sorted(s.metadata.domain for s in there) == sorted(sumo.DOMAINS), split
    source = RecordSource(dataset, split, ("domain",))
    found = Counter(source.stacked(np.arange(len(source)))["domain"].tolist())
    wanted = {dataset.domains.index(s.metadata.domain): len(windows_of(s, dataset.window, 0)) for s in there}
    assert found == wanted, "every window carries the index of its scene's domain"
  everything = [s.metadata for there in scenes.values() for s in there]
  assert len({m.seed for m in everything}) == len({m.map_id for m in everything}) == 21
  notes = json.loads((tmp_path / "d" / "dataset.json").read_text())["notes"]
  assert notes["unusable"] == [] and notes["arguments"]["seed"] == 3
