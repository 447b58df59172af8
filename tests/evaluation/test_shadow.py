"""Two drivers on a straight road whose futures are known: one goes on as before, the other brakes."""

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import motion
from data.errors import BadInput
from data.windows import WindowConfig
from evaluation import shadow
from evaluation.forecasting.cases import LEAPT, NO_POSITION
from evaluation.shadowing import disagreements, sequential_gate, stream
from evaluation.shadowing.sequential_gate import Rule
from experiments.config import from_dict
from experiments.configs.motion import get_config
from experiments.task import make_task
from tests.worlds import stepwise, straight_scene

ROOT = pathlib.Path(__file__).resolve().parents[2]
DT = 0.5
WINDOW = WindowConfig(dt=DT, steps=8, agents=2, points=16, stops=1, phases=1, least_moves=4)
BRAKE = int(np.argmin(np.abs(motion.YAW_RATES)))  # the hardest braking, straight on
RULE = Rule(false_alarm=0.05, margin=0.05, bound=1.0)


def scene(number: int, domain: str):
  """Two agents at a steady 8 m/s for 8 s: two records of 4 s; the first agent leaves within the second."""
  one = straight_scene(81, 2, number, domain=domain, scene_id=f"scene-{number}")
  one.position_TxAx2[..., 0] = 20 * np.arange(2)[::-1] + 0.8 * np.arange(81)[:, None]
  one.velocity_TxAx2[..., 0] = 8.0
  one.valid_TxA[70:, 0] = False
  return one


def sure_of(move: int):
  """A model that knows one move only."""

  def apply(_, batch):
    moves = jnp.full(batch["tokens_BxTxA"].shape, move)
    return 20.0 * jax.nn.one_hot(moves, motion.VOCABULARY)

  return stepwise(apply)


@functools.cache
def scored():
  records, empty, _ = stream.stream(
    [scene(n, ("rural", "highway")[n % 2]) for n in range(3)], WINDOW, 2.0, 2.0
  )
  to_batch = make_task(from_dict(get_config("tiny").to_dict()), WINDOW, domains=1).to_batch
  scores = [stream.score(sure_of(m), {}, to_batch, DT, records) for m in (motion.KEEP, BRAKE)]
  return records, empty, *scores


def test_records_come_in_the_order_of_the_log():
  records, empty, _, _ = scored()
  assert [(one.unit, one.begin_s) for one in records] == [(n, b) for n in range(3) for b in (0.0, 4.0)]
  assert empty == 0 and [int(one.cases.scored_BxA.sum()) for one in records] == [2, 1] * 3
  gone = scene(0, "rural")
  gone.valid_TxA[60:] = False
  assert stream.stream([gone], WINDOW, 2.0, 2.0)[1] == 1
  gone.valid_TxA[20:] = False
  with pytest.raises(BadInput, match="no agent is logged"):
    stream.stream([gone], WINDOW, 2.0, 2.0)


def test_a_log_that_cannot_be_is_named_counted_and_survived():
  leaps = scene(0, "rural")
  leaps.position_TxAx2[20:, 0] += 30
  lost = scene(1, "rural")
  lost.heading_TxA[50, 1] = np.nan
  lost.valid_TxA[70:, 0] = True
  records, empty, faults = stream.stream([leaps, lost], WINDOW, 2.0, 2.0)
  assert faults == {LEAPT: 1, NO_POSITION: 1} and empty == 0
  assert [int(one.cases.scored_BxA.sum()) for one in records] == [1, 1, 2, 1]
  assert all(np.isfinite(one.cases.windows["features_TxAxF"]).all() for one in records)


def test_scores_have_closed_forms():
  """Who keeps 8 m/s is where the log is; who brakes falls back by what its speed after each step lacks."""
  records, _, keeps, brakes = scored()
  t = DT * np.arange(1, 5)
  back = (8 - np.maximum(8 + motion.ACCELERATIONS[0] * t, 0)).cumsum() * DT
  np.testing.assert_allclose(keeps.away_N, 0, atol=1e-3)
  np.testing.assert_allclose(keeps.hits_N, 1)
  assert brakes.hits_N.max() == 0
  np.testing.assert_allclose(brakes.away_N, back.mean(), rtol=0.01)
  uniform_rest = np.log1p((motion.VOCABULARY - 1) * np.exp(-20.0))
  np.testing.assert_allclose(keeps.nats_N, uniform_rest, atol=1e-5)
  np.testing.assert_allclose(brakes.nats_N, 20 + uniform_rest, atol=1e-4)
  between = [
    stream.apart(r.cases, a, b).max() for r, a, b in zip(records, keeps.futures, brakes.futures, strict=True)
  ]
  np.testing.assert_allclose(between, brakes.away_N, atol=5e-3)


def test_the_report_names_what_is_worse():
  records, _, keeps, brakes = scored()
  slices, watched = shadow.slices_of(records, "domain=rural; domain=highway,weather=unknown")
  assert {name: inside.sum() for name, inside in slices.items()} == {
    "all": 6, "domain=rural": 4, "domain=highway,weather=unknown": 2,
  }  # fmt: skip
  assert list(watched) == ["domain=highway"]
  assert [list(part) for part in shadow.slices_of(records, "")] == [
    ["all"], ["domain=highway", "domain=rural"],
  ]  # fmt: skip
  with pytest.raises(BadInput, match="domain has no value 'moon'"):
    shadow.slices_of(records, "domain=moon")
  few = shadow.report(records, brakes, keeps, "hits", RULE, slices, watched)
  assert few["verdict"] == "hold" and few["scenes"] == 3 and few["not_yet_shown"] == list(slices)
  assert few["watched"]["domain=highway"]["change"] == -1 and few["not_seen_by_then"] == []
  assert few["slices"]["all"]["change"] == -1 and few["slices"]["all"]["worse"] > 2
  many = [dataclasses.replace(one, unit=one.unit + 3 * k) for k in range(8) for one in records]

  def eightfold(scores):
    tiled = {name: np.tile(getattr(scores, name), 8) for name in ("nats_N", "away_N", "hits_N")}
    return dataclasses.replace(scores, futures=scores.futures * 8, **tiled)

  slices, watched = shadow.slices_of(many, "")
  last = (
    2 * len(many) // 3
  )  # the order of the log, and highways at its end: rejected before one of them is seen
  apart = {name: (np.arange(len(many)) >= last) == (name == "domain=highway") for name in watched}
  for pair, verdict in (((brakes, keeps), "reject"), ((keeps, brakes), "promote")):
    result = shadow.report(many, *map(eightfold, pair), "hits", RULE, slices, apart)
    assert result["not_seen_by_then"] == ["domain=highway"]
    assert "no record yet of domain=highway" in shadow.sentence(result)
    assert result["verdict"] == verdict and (result["degraded"] != []) == (verdict == "reject")
    assert verdict in shadow.sentence(result).lower() and "domain=rural" in shadow.table(result)
    json.dumps(result, allow_nan=False)


def test_how_many_scenes_a_promotion_needs_is_known_before():
  """A sure gain takes 8 scenes, no change 112: one less, and the gate itself holds."""
  records = scored()[0]
  slices, _ = shadow.slices_of(records, "domain=rural")
  reach = shadow.reach_of(records, slices, RULE)
  assert reach == {
    "at_best": 8, "if_equal": 112, "scenes": {"all": 3, "domain=rural": 2}, "out_of_reach": ["all", "domain=rural"],
  }  # fmt: skip
  assert "at least 8 scenes" in shadow.said_before(reach) and "112" in shadow.said_before(reach)
  for change, least in ((1.0, 8), (0.05, 58), (0.0, 112)):
    assert sequential_gate.least_units(RULE, change) == least
    for units, verdict in ((least - 1, sequential_gate.HOLD), (least, sequential_gate.PROMOTE)):
      made = np.full(units, change), np.zeros(units), np.arange(units), {"all": np.ones(units, bool)}
      assert sequential_gate.decide(*made, RULE).verdict == verdict
  assert sequential_gate.least_units(RULE, -0.05) is None


def test_scenes_of_all_domains_come_in_turn_in_a_drawn_order():
  """Stored domain by domain, 12 + 6 + 3 scenes of two records: every third of the stream has a third of each."""
  names = ["a"] * 12 + ["b"] * 6 + ["c"] * 3
  logged = [
    types.SimpleNamespace(
      unit=n, begin_s=begin, scene=types.SimpleNamespace(metadata=types.SimpleNamespace(domain=name))
    )
    for n, name in enumerate(names)
    for begin in (0.0, 4.0)
  ]
  orders = [stream.interleaved(logged, seed) for seed in (0, 0, 1)]
  found = [[(one.unit, one.begin_s) for one in order] for order in orders]
  assert found[0] == found[1] != found[2] and sorted(found[0]) == sorted(found[2]) and len(found[0]) == 42
  for order in found:
    units = [unit for unit, _ in order[::2]]
    assert order == [(unit, begin) for unit in units for begin in (0.0, 4.0)], (
      "records of a scene lie together"
    )
    for begin in (0, 7, 14):
      here = Counter(names[unit] for unit in units[begin : begin + 7])
      assert all(abs(here[name] - whole / 3) <= 1 for name, whole in Counter(names).items())


def test_taking_turns_does_not_raise_false_alarms():
  """Two domains that are better and worse by as much, in turn: `all` is worse in none, and rarely called so."""
  rng = np.random.default_rng(0)
  gain = np.where(np.arange(700) % 2, 0.2, -0.2)
  x = -np.clip(gain + rng.uniform(-0.5, 0.5, (300, 700)), -1, 1)
  assert (sequential_gate.evidence(x, 1.0) >= np.log(1 / 0.05)).any(-1).mean() <= 0.05


def test_the_worst_disagreement_is_found_and_drawn():
  records, _, keeps, brakes = scored()
  found = disagreements.worst(records, keeps, brakes, 2)
  assert len(found) == 2 and found[0].apart_m >= found[1].apart_m
  assert found[0].nearer == "candidate" and found[0].candidate_m < 0.01 < found[0].incumbent_m
  assert found[0].now_s == records[found[0].record].begin_s + 2.0
  drawings = [disagreements.drawing(one, records, keeps, brakes) for one in found]
  for drawing in drawings:
    ElementTree.fromstring(drawing)
    for colour in (disagreements.LOGGED, disagreements.CANDIDATE, disagreements.INCUMBENT):
      assert colour in drawing
  page = disagreements.page("a <b>", "Hold.", found, drawings)
  assert (
    "a &lt;b&gt;" in page
    and "scene-" in page
    and "http" not in page.replace("http://www.w3.org/2000/svg", "")
  )


def test_a_directory_that_is_no_run_exits_2_and_writes_nothing(tmp_path):
  runs = [f"--{name}={tmp_path / name}" for name in ("candidate", "incumbent")]
  command = [sys.executable, "-m", "evaluation.shadow", *runs, f"--out={tmp_path / 'out'}"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert (
    done.returncode == 2 and str(tmp_path / "candidate") in done.stderr and "Traceback" not in done.stderr
  )
  assert not (tmp_path / "out").exists()
