"""A fleet of unigrams: interrupted, attacked, guarded and private, all by configuration."""

import json
import types

import numpy as np
import pytest

from data.errors import BadInput
from experiments import federation, federation_safety
from experiments.federation_config import client_rate, parse
from experiments.program import Preempted
from federated import accounting
from tests.experiments import toy_fleet
from tests.experiments.toy_fleet import values


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
  return toy_fleet.write(tmp_path_factory.mktemp("streams") / "dataset")


@pytest.fixture
def run(streams, tmp_path, monkeypatch):
  """run(name, **changes) -> (the row, its metrics)."""
  monkeypatch.setattr(federation, "make_task", toy_fleet.make_task)

  def simulate(name, **changes):
    federation.simulate(str(tmp_path / name), values(streams, **changes))
    lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    return json.loads((tmp_path / name / "result.json").read_text()), [json.loads(line) for line in lines]

  return simulate


class Stop:
  """Asks to stop after the second round."""

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def requested(self, done):
    return done == 2


def test_a_fleet_that_is_interrupted_ends_as_one_that_is_not(run, monkeypatch):
  """With all that is remembered: by clients, links, the golden set; its clients are spread over two devices."""
  changes = {
    "mesh": {"clients": 2},
    "algorithm": {"name": "scaffold"},
    "up": {"codec": "top_k", "share": 0.05, "feedback": True},
    "down": {"codec": "stochastic", "bits": 8},
    "attack": {"name": "scaling", "share": 0.25, "factor": 2.0},
    "golden": {"split": "tune"},
  }
  whole, _ = run("whole", **changes)
  with monkeypatch.context() as patched:
    patched.setattr(federation, "StopSignal", Stop)
    with pytest.raises(Preempted, match="saved round 2 of 3"):
      run("cut", **changes)
  cut, _ = run("cut", **changes)
  assert {**whole, "run_id": ""} == {**cut, "run_id": ""}
  assert whole["uplink_bytes"] > 0 and set(whole["loss_by_domain"])


ATTACK = {"name": "sign_flip", "share": 0.25, "factor": 10.0}


def test_attackers_break_a_mean_and_neither_a_median_nor_a_golden_set(run):
  begun = np.log(toy_fleet.markov.V)
  broken, _ = run("broken", attack=ATTACK)
  median, metrics = run(
    "median", attack=ATTACK, aggregate={"name": "median"}, algorithm={"client_final": 0.5}
  )
  golden, guarded = run("golden", attack=ATTACK, golden={"split": "tune", "axes": "domain"})
  assert median["loss"] < begun < broken["loss"]
  assert golden["refused"] == 3 and golden["loss"] == pytest.approx(begun, abs=1e-5)  # it is where it began
  assert guarded[0]["golden_loss"] > begun and "golden_loss" not in metrics[0]


def test_a_private_run_says_what_it_spends_and_not_what_clients_lost(run):
  privacy = {"name": "central", "noise": 2.0, "delta": 0.01, "quantile": 0.5, "quantile_noise": 8.0}
  row, metrics = run("private", privacy=privacy)
  assert row["epsilon"] == accounting.epsilon(accounting.Schedule(12, 8, 3, "fixed"), 2.0, 0.01)
  assert (row["noise"], row["delta"]) == (2.0, 0.01)
  assert not any("train_loss" in record for record in metrics)


def test_what_vehicles_hide_themselves_is_worth_less_with_every_round(streams):
  """Two clips apart, noise of two times five clips, three times: a Gaussian of 5 / sqrt(3)."""
  config, _ = parse(values(streams, privacy={"name": "local", "noise": 5.0, "delta": 0.01}))
  expected = accounting.epsilon(accounting.Schedule(1, 1, 1, "fixed"), 10.0 / np.sqrt(3), 0.01)
  assert federation_safety.Privacy(config).epsilon == pytest.approx(expected, rel=1e-6)


PRIVATE = {"name": "central", "epsilon": 8.0, "delta": 0.01}


@pytest.mark.parametrize(
  ("changes", "says"),
  [
    ({"privacy": PRIVATE | {"epsilon": 1e-6}}, "epsilon 1e-06 cannot be met: noise of 8 clips"),
    ({"privacy": PRIVATE | {"noise": 0.5}}, "epsilon 8 cannot be met: noise of 0.5 clips"),
    ({"privacy": PRIVATE | {"epsilon": 0.0}}, "neither noise nor epsilon"),
    ({"privacy": PRIVATE | {"delta": 0.0}}, "delta 0"),
    ({"privacy": PRIVATE, "up": {"codec": "sign"}}, "a codec makes updates longer than the clip"),
    ({"privacy": PRIVATE, "aggregate": {"name": "median"}}, "measured for a mean, not for a median"),
    ({"aggregate": {"name": "multi_krum", "byzantine": 3}}, "8 clients, of whom 3 may be attackers"),
    (
      {"aggregate": {"name": "multi_krum", "byzantine": 2, "group": 2}},
      "4 clients, of whom 2 may be attackers",
    ),
    ({"aggregate": {"name": "trimmed_mean", "share": 0.5}}, "leave out less than half"),
    ({"golden": {"split": "tune", "axes": "rig"}}, "carry 'rig'"),
    (
      {"mesh": {"clients": 9}, "clients": 9, "lanes": 1},
      "9 devices are wanted, 8 are here",
    ),
    ({"golden": {"split": "train"}}, "vehicles hold the split 'train'"),
    ({"golden": {"split": "validation"}}, "slice 0 holds 4 scenes"),
    ({"golden": {"split": "nowhere"}}, "split 'nowhere' holds no windows"),
  ],
)
def test_what_cannot_be_trusted_is_refused_by_name(run, changes, says):
  with pytest.raises(BadInput, match=says):
    run("refused", **changes)


def test_a_clients_rate_falls_as_a_cosine(streams):
  config, _ = parse(values(streams, rounds=5, algorithm={"client_rate": 2.0, "client_final": 0.5}))
  found = [client_rate(config, number) for number in range(5)]
  assert (found[0], found[2], found[4]) == pytest.approx((2.0, 1.5, 1.0))
  assert found == sorted(found, reverse=True)


def scene(route, date="2026-01-02"):
  return types.SimpleNamespace(metadata=types.SimpleNamespace(source="here", route=route, date=date))


def test_a_route_on_both_sides_of_a_split_is_refused_unless_it_is_lived_with(streams):
  held = {"train": [scene("E18"), scene("I-10")], "validation": [scene("I-10"), scene("A1")]}
  dataset = types.SimpleNamespace(path="logs", holds=lambda kind: True, scenes=held.__getitem__)
  with pytest.raises(BadInput, match="route I-10 on 2026-01-02 is in train, validation"):
    federation_safety.refuse_leaks(dataset, "train", ("validation",), "")
  federation_safety.refuse_leaks(dataset, "train", ("validation",), "same_route_same_day")
  held["validation"].pop(0)
  federation_safety.refuse_leaks(dataset, "train", ("validation",), "")
