"""The ladder on features whose answers are known: perfect ones, noise, and one domain that is unlike the others."""

import dataclasses
import json
import math

import numpy as np
import pytest

from data import motion
from data.clips import FIRST_BOX_CLASS, LIGHTS, RARE, WEATHERS
from data.errors import BadInput
from evaluation import probe
from evaluation.probing.ladder import Side, errors, ladder
from evaluation.probing.targets import Target, clip_targets, inputs, window_targets
from tests.data.random_clips import random_clips, tiny_config

DOMAINS = ("a", "b", "c")


def side(first_scene: int, scenes: int, seed: int, features) -> Side:
  """4 clips of each scene; a quantity "q", and "kind" with two equal classes. features(rng, q, kind, domain)."""
  rng = np.random.default_rng(seed)
  scene = np.repeat(np.arange(first_scene, first_scene + scenes), 4)
  domain = scene % 3
  q, kind = rng.normal(size=(len(scene), 2)), rng.integers(0, 2, len(scene))
  every = np.ones(len(scene), bool)
  targets = {"q": Target(q, every), "kind": Target(kind, every, ("no", "yes"))}
  targets["domain"] = Target(domain, every, DOMAINS)
  place = np.repeat(rng.uniform(0, 1e4, (scenes, 2)), 4, axis=0)
  return Side(features(rng, q, kind, domain), targets, scene, domain, place)


def informed(rng, q, kind, domain):
  noise = rng.normal(size=(len(q), 6))
  return {"trained": np.concatenate([q, 3.0 * kind[:, None], np.eye(3)[domain]], -1), "random": noise}


TRAIN, TEST = side(0, 40, 0, informed), side(40, 30, 1, informed)
RESULT = ladder(TRAIN, TEST, DOMAINS, 50, 0)


def test_features_that_hold_the_answer_are_read_and_random_ones_are_not():
  linear = RESULT["linear"]
  assert linear["q"]["trained"]["score"] > 0.999
  assert linear["q"]["trivial"] == 0.0
  assert linear["q"]["random"]["score"] < 0.1
  assert linear["kind"]["trained"] == {"score": 1.0, "ci95": [1.0, 1.0]}
  assert linear["domain"]["trained"]["score"] == 1.0
  assert RESULT["left_out"] == {}
  assert RESULT["few_shot"]["domain"].keys() == {"1", "5", "10"}
  assert linear["q"]["clips"] == 120 and linear["q"]["scenes"] == 30


def test_random_features_score_chance_within_its_exact_interval():
  """Of 120 answers by coin, the number of right ones has deviation sqrt(120)/2; 4 of them bound a seeded draw."""
  for rung in ("linear", "neighbours"):
    right = 120 * RESULT[rung]["kind"]["random"]["score"]
    assert abs(right - 60) < 4 * math.sqrt(120) / 2, rung
  for shots in RESULT["few_shot"]["kind"].values():
    assert abs(shots["random"]["score"] - 0.5) < 4 * 0.5 / math.sqrt(120)


@pytest.mark.parametrize("target", ["q", "kind"])
def test_errors_of_clips_add_up_to_what_the_score_lacks(target):
  found, worst_N = errors(TRAIN, TEST, target)
  for kind, error_N in found.items():
    lacking = 1 - RESULT["linear"][target][kind]["score"]
    assert error_N.sum() / worst_N.sum() == pytest.approx(lacking, abs=1e-12)


def test_the_margin_is_paired():
  margin, kind = RESULT["linear"]["kind"]["margin"], RESULT["linear"]["kind"]
  assert margin["score"] == kind["trained"]["score"] - kind["random"]["score"]
  assert margin["ci95"] == pytest.approx([1 - kind["random"]["ci95"][1], 1 - kind["random"]["ci95"][0]])
  both = ladder(
    *(dataclasses.replace(one, features={"trained": one.features["random"], "random": one.features["random"]})
      for one in (TRAIN, TEST)), DOMAINS, 50, 0,
  )  # fmt: skip
  assert both["linear"]["q"]["margin"] == {"score": 0.0, "ci95": [0.0, 0.0]}


def test_a_domain_that_means_the_opposite_is_not_reached_by_transfer():
  """In domain c the feature has the other sign: read with c among the training clips it is learnt by the product."""

  def features(rng, q, kind, domain):
    sign = np.where(domain == 2, -1.0, 1.0)[:, None]
    return {"trained": np.concatenate([sign * q, sign * q * (domain == 2)[:, None]], -1)}

  result = ladder(side(0, 40, 0, features), side(40, 30, 1, features), DOMAINS, 20, 0)["transfer"]["q"]
  assert result["a"]["zero_shot"]["trained"]["score"] > 0.9
  assert result["c"]["zero_shot"]["trained"]["score"] < -1.0
  assert result["c"]["with_it"]["trained"]["score"] > 0.9


def test_places_are_found_by_features_of_the_place():
  def features(rng, q, kind, domain):
    return {
      "trained": np.repeat(rng.normal(size=(len(q) // 4, 8)), 4, axis=0),
      "random": rng.normal(size=q.shape),
    }

  place = ladder(side(0, 40, 0, features), side(40, 30, 1, features), DOMAINS, 20, 0)["place"]
  assert place["asked"] == place["clips"] == 120
  assert place["recall@1"]["trained"]["score"] == 1.0
  assert place["recall@1"]["chance"] == pytest.approx(3 / 119)
  assert place["recall@1"]["random"]["score"] < 0.15


def test_a_planted_leak_is_refused():
  with pytest.raises(BadInput, match="1 scenes are in both, scene 40"):
    ladder(side(0, 41, 0, informed), TEST, DOMAINS, 10, 0)
  with pytest.raises(BadInput, match="4 test clips"):
    ladder(TRAIN, side(40, 1, 1, informed), DOMAINS, 10, 0)


def test_what_cannot_be_asked_is_left_out_by_name():
  def still(one: Side) -> Side:
    count = len(one.scene_N)
    targets = {
      "q": Target(np.zeros((count, 1)), np.ones(count, bool)),
      "kind": Target(one.targets["kind"].values, np.arange(count) < 3, ("no", "yes")),
    }
    return dataclasses.replace(one, targets=targets, place_Nx2=None)

  result = ladder(still(TRAIN), still(TEST), DOMAINS, 10, 0)
  assert result["left_out"]["q"] == "the same in all training clips"
  assert result["left_out"]["kind"] == "known of 3 training and 3 test clips only"
  assert result["linear"] == {} and "place" not in result
  alone = dataclasses.replace(TRAIN, scene_N=np.zeros_like(TRAIN.scene_N))
  assert ladder(alone, TEST, DOMAINS, 10, 0)["left_out"]["q"] == "known of a single training scene"


def test_targets_of_a_drawn_clip():
  config = tiny_config(grid=8)
  clips = {name.replace("Bx", ""): value for name, value in random_clips(config, 2).items()}
  clips |= {name: clips[f"{name}_B"] for name in ("scene", "domain", "weather", "light", "rare")}
  clips["boxes_TxKx7"][:, -1, :, :2] = [[3.0, 4.0], [8.0, -6.0], [12.0, 5.0], [-9.0, 0.0]]  # m
  clips["present_TxK"][:, -1] = [[True, True, True, True], [True, False, False, True]]
  clips["cells_TxHxW"][:] = 0
  clips["cells_TxHxW"][0, -1, 2:4, 0] = FIRST_BOX_CLASS
  clips["future_mask_TxF"][:, -1, -1] = [True, False]
  names = {"domain": DOMAINS, "weather": WEATHERS, "light": LIGHTS, "rare": RARE}
  found = clip_targets(clips, names)
  # The first is more left than ahead.
  np.testing.assert_array_equal(found["agents_ahead"].values, [[2.0], [0.0]])
  np.testing.assert_array_equal(found["nearest_ahead"].known_N, [True, False])
  assert found["nearest_ahead"].values[0, 0] == 10.0
  occupancy = np.zeros(16)
  occupancy[4] = 0.5  # second row of squares, first column: two of four cells
  np.testing.assert_array_equal(found["occupancy"].values, [occupancy, np.zeros(16)])
  np.testing.assert_array_equal(found["displacement"].known_N, [True, False])
  np.testing.assert_array_equal(found["speed"].values[:, 0], clips["ego_TxS"][:, -1, 0])
  assert found["weather"].names == WEATHERS and found["weather"].is_class


def test_targets_of_windows_of_motion_tokens_are_the_first_agents_moves_from_halfway_on():
  brake, rows = motion.ACCELERATIONS.index(-1.2), len(motion.YAW_RATES)
  tokens, mask = np.full((2, 16, 2), motion.KEEP), np.ones((2, 16, 2), bool)
  tokens[0, 8:11, 0], tokens[0, 14:, 0], tokens[:, :8, 0], tokens[..., 1] = brake * rows, 0, 0, 0
  mask[1, 13, 0] = False
  valid = np.ones((2, 16, 2), bool)
  valid[1, 8, 1] = False
  windows = {"tokens_TxA": tokens, "mask_TxA": mask, "valid_TxA": valid, "domain": np.array([2, 0], np.uint8)}
  found = window_targets(windows, DOMAINS)
  np.testing.assert_allclose(
    found["acceleration"].values[:, 0], [-0.6, 0.0], atol=1e-7
  )  # half of six at -1.2
  assert found["acceleration"].known_N.tolist() == [True, False]
  assert found["agents"].values.tolist() == [[2.0], [1.0]] and found["domain"].values.tolist() == [2, 0]


def test_the_result_is_json_and_its_table_names_every_rung():
  assert json.loads(json.dumps(RESULT, allow_nan=False)) == RESULT
  lines = probe.table(RESULT).splitlines()
  kind = next(line for line in lines if line.startswith("linear: kind"))
  assert kind.split()[2] == "1.000" and "to" in kind
  starts = ("linear: q", "neighbours: kind", "zero-shot to c: q", "5 shots: domain", "place recall@1")
  for start in starts:
    assert sum(line.startswith(start) for line in lines) == 1, start


def test_targets_that_the_model_reads_are_marked():
  assert inputs("perception", ("ego", "lidar")) == ("speed",)
  assert "occupancy" in inputs("perception", ("raster",)) and "speed" not in inputs("perception", ("raster",))
  lines = probe.table(RESULT | {"inputs": ("q",)}).splitlines()
  marked = {line.split(": ")[-1].split()[0] for line in lines if line.endswith("input")}
  assert marked == {"q"} and not any(line.endswith("input") for line in probe.table(RESULT).splitlines())
