"""Runs scored by their forecasts: cases of all scenes together, one that has diverged, intervals over scenes."""

import dataclasses
import types

import numpy as np
import pytest
from scipy.stats import t as student

from data.errors import BadInput
from data.files import write_json_atomic
from evaluation import score_runs
from evaluation.finite import require_finite
from evaluation.forecasting import rollout
from evaluation.forecasting.cases import LEAPT
from evaluation.intervals import of_ratio
from tests.evaluation.test_forecast import TASK, WINDOW, scene_with


def test_a_run_that_has_diverged_is_named_and_the_others_are_scored(monkeypatch):
  scenes = [scene_with(agents=3, steps=62, seed=k) for k in range(3)]
  for k, scene in enumerate(scenes):
    scenes[k] = dataclasses.replace(
      scene, metadata=dataclasses.replace(scene.metadata, scene_id=f"s{k}", domain=("rural", "apron")[k % 2])
    )
  scenes[1].valid_TxA[30] = False  # nobody is there throughout
  scenes[2].position_TxAx2[20:, 0] += 60

  def run(name, window=WINDOW):
    return types.SimpleNamespace(
      path=f"runs/{name}", row={"run_id": name}, task=TASK, weights={},
      config=types.SimpleNamespace(data=types.SimpleNamespace(eval_split="validation")),
      dataset=types.SimpleNamespace(window=window, scenes=lambda split: scenes),
    )  # fmt: skip

  cases = score_runs.held_out(run("a"), 1)
  assert cases.faults == {LEAPT: 1} and set(cases.scene_B[cases.scored_BxA.any(1)]) == {"s0", "s2"}
  assert dict(zip(cases.scene_B.tolist(), cases.domain_B.tolist(), strict=True))["s0"] == "rural"
  with pytest.raises(BadInput, match="exceed the model's window of 8"):
    score_runs.held_out(run("a", dataclasses.replace(WINDOW, steps=8)), 1)
  made = np.stack([cases.truth_BxAxNx2 + [0.0, away] for away in (3.0, 1.0)])
  monkeypatch.setattr(rollout, "futures", lambda *rest: made)
  rows = {(row.metric, row.slice, row.cluster): row for row in score_runs.forecasts(run("a"), cases, 2, 0)}
  assert rows["minFDE_2", "rural", "s0"].value == pytest.approx(1, abs=1e-3)
  assert rows["miss_rate_2", "rural", "s0"].value == 0 and {key[2] for key in rows} == {"s0", "s2"}
  made[0, cases.scored_BxA & (cases.scene_B == "s0")[:, None], 3:] = np.nan
  with pytest.raises(BadInput, match="runs/b: minADE_2 of s0 is nan; its weights have diverged"):
    score_runs.forecasts(run("b"), cases, 2, 0)


def test_intervals_are_over_scenes_and_not_over_agents():
  """Three scenes with means 1, 2 and 4 of two agents each, in windows of their own: mean -+ t se, by scipy."""
  scene_B = np.repeat(["a", "b", "c", "d"], 2)
  total_B, count_B = np.array([0.5, 1.5, 2, 2, 4, 4, 0, 0]), np.array([1, 1, 1, 1, 1, 1, 0, 0])
  found = of_ratio(total_B, count_B, scene_B)
  expected = student.interval(0.95, 2, loc=7 / 3, scale=np.std([1, 2, 4], ddof=1) / np.sqrt(3))
  assert found == pytest.approx(list(expected), rel=1e-4)
  copies = of_ratio(*(np.tile(values, 9) for values in (total_B, count_B, scene_B)))
  assert copies == pytest.approx(found), "more windows of a scene are no more scenes"
  assert of_ratio(total_B[:2], count_B[:2], scene_B[:2]) is None


def test_a_world_in_which_a_drive_failed_is_driven_again(tmp_path):
  place = tmp_path / "world-7.json"
  assert not score_runs.whole(place)
  for ends, whole in ((["arrived", "time is up"], True), (["arrived", "failed: MemoryError: "], False)):
    write_json_atomic(place, {"episodes": [{"end": end} for end in ends]})
    assert score_runs.whole(place) == whole


def test_what_is_no_number_is_named_by_its_place():
  require_finite({"a": 1.0, "b": None, "c": [{"d": 2}, {"e": "nan"}]}, "run")
  with pytest.raises(BadInput, match=r"run: c/1/e is -inf; its weights have diverged"):
    require_finite({"a": 1.0, "c": [{"d": 2}, {"e": float("-inf")}]}, "run")
