"""The demo's chain speaks its programs' language, and its report says what the files say."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from experiments import demo, demo_report

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def chain(monkeypatch):
  size = {"params": 2.0, "tokens": 3.0, "flops": 36.0}
  monkeypatch.setattr(demo, "size_of_larger", lambda dataset: size)
  return list(demo.chain(pathlib.Path("w")))


def test_every_flag_of_the_chain_is_one_of_its_program(chain):
  for stage in chain:
    module, *arguments = stage.argv
    done = subprocess.run(
      [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"^\s+--(?:\[no\])?(\w+):", done.stdout, re.M))
    asked = {argument.removeprefix("--").partition("=")[0].partition(".")[0] for argument in arguments}
    assert asked <= known, module


def test_every_input_is_the_output_of_an_earlier_stage(chain):
  made: set[pathlib.Path] = {pathlib.Path(demo.CONFIG)}
  for stage in chain:
    assert set(stage.inputs) <= made, stage.name
    assert all(path == stage.directory or stage.directory in path.parents for path in stage.outputs[:1])
    made |= set(stage.outputs)
  assert pathlib.Path("w/report.html") in made


def test_the_larger_run_starts_after_its_prediction_and_again_after_a_new_one(chain):
  names = [stage.name for stage in chain]
  assert names.index("prediction") < names.index("larger")
  assert pathlib.Path("w/law/prediction.json") in chain[names.index("larger")].inputs


def test_report_of_times_adds_up_in_the_order_of_the_stages(tmp_path, monkeypatch):
  (tmp_path / "env").mkdir()
  (tmp_path / "env" / ".demo").write_text("30\n")
  monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
  stamps = tmp_path / "stamps"
  stamps.mkdir()
  for at, (name, seconds) in enumerate({"dataset": 10.0, "audit": 2.5}.items()):
    (stamps / f"{name}.json").write_text(json.dumps({"command": f"python -m {name}", "seconds": seconds}))
    os.utime(stamps / f"{name}.json", (at, at))
  (stamps / "ladder.unfinished.json").write_text(json.dumps({"fingerprint": "", "seconds": 9.0}))
  rows = demo_report.times(stamps).items[0].rows
  assert [row[:2] for row in rows] == [
    ["install", 30.0],
    ["dataset", 10.0],
    ["audit", 2.5],
    ["total, without this report", 42.5],
  ]


def test_report_of_forecasts_shows_each_error_where_it_belongs():
  def errors(k, first):
    return {f"minADE_{k}": first, f"minFDE_{k}": first + 1, f"miss_rate_{k}": first + 2}

  part = {"n_agents": 7, **errors(1, 0.0), **errors(6, 10.0), "constant_velocity": errors(1, 20.0)}
  forecast = {"horizon_s": 3.0, "observed_s": 2.0, "moving": part, "all": part | {"n_agents": 9}}
  rows = demo_report.forecasts(forecast).items[0].rows
  assert rows[1] == ["moving agents", "best of 6 futures", 7, 10.0, 11.0, 12.0]
  assert rows[2] == ["moving agents", "constant velocity", 7, 20.0, 21.0, 22.0]
  assert rows[3] == ["all agents", "mean future", 9, 0.0, 1.0, 2.0]


def test_report_of_drives_shows_each_score_where_it_belongs(tmp_path):
  def part(score):
    counts = {"hits": 1, "misses": 2, "false_alarms": 3}
    watched = {"r157": {"takes_over": score / 5, "counts": counts}} if score < 0.7 else {}
    own = {"score": score, "episodes": 2, "monitor": watched}
    return own | {"by_domain": {"rural": own | {"score": score + 0.25}}}

  result = part(0.5) | {
    "baselines": {"policy:guided": part(0.25), "log_replay": part(0.75)},
    "films": ["a.html"],
  }
  (tmp_path / "closed_loop.json").write_text(json.dumps(result))
  table, taken, film = demo_report.drives(tmp_path).items
  assert table.header[2:] == ("policy", "policy, guided", "log replay")
  assert table.rows == [["rural", 2, 0.75, 0.5, 1.0], ["all", 2, 0.5, 0.25, 0.75]]
  assert taken.rows == [["r157", "policy", 0.1, 1, 2, 3], ["r157", "policy, guided", 0.05, 1, 2, 3]]
  assert film.path == tmp_path / "pictures" / "a.html"


def test_report_of_artifacts_shows_error_and_latency_and_names_what_failed():
  own = {
    "files": {"a/model.onnx": {"bytes": 7, "sha256": ""}, "a/model.bin": {"bytes": 3, "sha256": ""}},
    "relative_l2": 0.5,
    "metric": 2.5,
    "metric_fp32": 2.0,
    "latency_ms": {"p50": 4.0, "p99": 8.0},
    "machine": {"processor": "a processor", "threads": 1},
  }
  manifest = {"records": 64, "targets": {"a": own, "b": {"failed": "no runtime"}}}
  section = demo_report.artifacts(manifest)
  assert section.items[0].rows == [["a", 10, 0.5, 2.5, 0.5, 4.0, 8.0]]
  assert section.notes == ["b failed: no runtime"] and "64 held-out" in section.paragraphs[0]


def test_report_of_a_fleet_tells_its_bytes_and_the_central_run_of_its_size(tmp_path):
  result = {
    "vehicles": 9,
    "rounds": 2,
    "clients": 3,
    "uplink_bytes": 4e6,
    "downlink_bytes": 8e6,
    "params": 70,
  }
  result |= {"simulated_seconds": 1800.0, "rejected": 1, "loss": 2.5}
  (tmp_path / "result.json").write_text(json.dumps(result))
  lines = [{"step": 1, "uplink_bytes": 2e6}, {"step": 2, "uplink_bytes": 4e6, "loss": 2.5}]
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  runs = tmp_path / "runs.csv"
  rows = ["run_id,params,params_convention,tokens,flops,loss"]
  rows += [f"{n},{n},non_embedding,10,{60 * n},{loss}" for n, loss in ((70, 1.5), (80, 1.0))]
  runs.write_text("\n".join(rows) + "\n")
  section = demo_report.fleet(tmp_path, runs)
  assert "4.0 MB up, 8.0 MB down, 0.50 simulated hours, 1 updates rejected" in section.paragraphs[0]
  assert "where all logs are: 1.5000" in section.paragraphs[0]
  assert section.items[0].path.read_text().startswith("<svg")


def test_report_of_places_puts_moving_agents_beside_all():
  slices = {"rural": 1.0, "moving/rural": 2.0, "moving": 3.0, "apron": 4.0, "moving/apron": 5.0}
  rows = demo_report.places({"loss": 6.0, "loss_by_slice": slices}).items[0].rows
  assert rows == [["apron", 4.0, 5.0], ["rural", 1.0, 2.0], ["all", 6.0, 3.0]]


@pytest.mark.parametrize("count", [0, 3])
def test_report_of_logs_tells_of_leaks(count):
  manifest = {"domains": ["a", "b"], "splits": {"train": {"scenes": 1, "windows": 2, "tokens": 3}}}
  section = demo_report.traffic(
    manifest, {"leaks": {"shared_seed": {"count": count}, "future_map": {"count": 0}}}
  )
  assert section.items[0].rows == [["train", 1, 2, 3]]
  assert section.notes == (["shared_seed: 3"] if count else [])
  assert ("found none" in section.paragraphs[0]) == (count == 0)
