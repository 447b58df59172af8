"""Scores of runs as rows: what is averaged over what."""

import types

import numpy as np
import pytest

from evaluation.driving import score_table
from evaluation.driving.score_table import Row


def test_forecasts_are_means_over_the_agents_of_a_scene_and_not_over_windows():
  totals, counts = {"minADE_6": np.array([3.0, 1.0, 8.0, 0.0])}, np.array([3, 1, 2, 0])
  rows = score_table.of_forecasts("a", totals, counts, ["h", "h", "r", "r"], ["s0", "s0", "s1", "s2"])
  assert rows == [Row("a", "minADE_6", "h", "s0", 1.0, 4), Row("a", "minADE_6", "r", "s1", 4.0, 2)]


def test_episodes_are_means_by_world_of_what_is_defined():
  def episode(driver, score, collided, progress):
    own = {"driver": driver, "domain": "rural", "seed": 7, "score": score, "progress": progress}
    terms = dict.fromkeys(score_table.RATES.values(), 1.0)
    return terms | own | {"no_at_fault_collision": 1 - collided}

  found = score_table.of_episodes(
    [
      episode("a:expected", 1.0, 0.0, None),
      episode("a:expected", 0.0, 0.5, 0.8),
      episode("b:expected", 0.5, 0.0, None),
    ]
  )
  values = {(row.run_id, row.metric): (row.value, row.count) for row in found}
  assert values["a", "score"] == (0.5, 2) and values["a", "collision_rate"] == (0.25, 2)
  assert values["a", "progress"] == (0.8, 1) and ("b", "progress") not in values
  assert {(row.slice, row.cluster) for row in found} == {("rural", "7")}


def test_the_table_is_sorted_and_read_back_as_it_was(tmp_path):
  rows = [Row("b", "loss", "h", "", 1.25, 1), Row("a", "score", "h", "7", 0.5, 12)]
  score_table.write(tmp_path / "scores.csv", rows)
  lines = (tmp_path / "scores.csv").read_text().splitlines()
  assert lines == ["run_id,metric,slice,cluster,value,count", "a,score,h,7,0.5,12", "b,loss,h,,1.25,1"]


def test_many_policies_drive_under_their_own_names(monkeypatch):
  from evaluation.driving import policy, rounds

  first, second = (types.SimpleNamespace(window=types.SimpleNamespace(dt=0.5)) for _ in range(2))
  monkeypatch.setattr(policy, "compiled", lambda own, moves: lambda memory, seen, draw: (own, moves))
  rounds.use_policies({"a": first, "b": second})
  asked = [rounds.make_driver(name, 1, None)._choose(None, None, None) for name in ("b:guided", "a:expected")]
  assert asked == [(second, "guided"), (first, "expected")]
  with pytest.raises(KeyError):
    rounds.make_driver("c:expected", 1, None)
