"""Bad dreams: the trouble that is asked for, which way out is best, and the records it becomes."""

import dataclasses

import numpy as np
import pytest

from data import context, dataset_writer, datasets, mixtures, motion, reader
from data.windows import WindowConfig
from evaluation import dream
from evaluation.simulation import dream_records, dreams
from evaluation.simulation.scenarios import make_scenarios
from tests.evaluation.test_forecast import scene_with

DT, OBSERVED = 0.5, 3
SHAPE = WindowConfig(dt=DT, steps=16, agents=8, points=32, stops=2, phases=1, least_moves=4)
SMALL = dataclasses.replace(SHAPE, agents=3)


@pytest.fixture(scope="module")
def scenarios():
  return make_scenarios(
    [scene_with(steps=160)], SMALL, OBSERVED, dreams.FORCED + SHAPE.steps, pieces=1, groups=2, seed=0
  )


def driven(scenarios, forced, careful=False):
  """States as a simulator answers: the egos do what is forced, then go straight on, or carefully back to their path
  along +x; the others keep on."""
  moves, states = np.where(forced < 0, motion.KEEP, forced), [scenarios.state_CxAxTxS[:, :, OBSERVED]]
  every, ego_C = np.arange(len(scenarios)), scenarios.ego_C
  path_C = scenarios.windows["path_AxPx2"][every, ego_C, 0, 1]
  for n, move_CxA in enumerate(moves):
    if careful and n >= dreams.FORCED:
      ego = states[-1][every, ego_C]
      rate_C = (-0.1 * (ego[:, motion.Y] - path_C) - motion.wrap(ego[:, motion.HEADING])) / DT
      yaw_C = np.abs(rate_C[:, None] - np.asarray(motion.YAW_RATES)).argmin(-1)
      move_CxA[every, ego_C] += yaw_C - motion.YAW_RATES.index(0.0)
    states.append(motion.step(states[-1], move_CxA, DT))
  return np.concatenate([scenarios.state_CxAxTxS[:, :, :OBSERVED], np.stack(states, 2)], 2)


@pytest.fixture(scope="module")
def found(scenarios):
  """Two ways on after having left the path by a metre: straight on, and back."""
  forced = dreams.troubles(scenarios)["left by 1 m"]
  ways = [driven(scenarios, forced, careful) for careful in (False, True)]
  judge = dreams.make_judge(scenarios)
  return [
    dreams.dream(scenarios, lambda _, draw: ways[draw], forced, draws, judge)
    for draws in (range(2), range(1))
  ]


def test_egos_end_where_the_trouble_is_asked_for(scenarios):
  now = OBSERVED + dreams.FORCED
  every, kinds = np.arange(len(scenarios)), dreams.troubles(scenarios)
  free = driven(scenarios, np.full_like(kinds["closes up"], motion.KEEP))[every, scenarios.ego_C, now]
  for name, aside, faster in (("left by 1 m", 1, 0), ("right by 3 m", -3, 0), ("closes up", 0, 2.7)):
    ego = driven(scenarios, kinds[name])[every, scenarios.ego_C, now]
    left = -np.sin(free[:, 2]) * (ego - free)[:, 0] + np.cos(free[:, 2]) * (ego - free)[:, 1]
    np.testing.assert_allclose(left, aside, atol=0.1 + 0.25 * abs(aside))  # rates are as fine as moves are
    np.testing.assert_allclose(ego[:, motion.SPEED] - free[:, motion.SPEED], faster, atol=0.3)
    assert (kinds[name][dreams.FORCED :] == -1).all() and (kinds[name] >= 0).sum() == dreams.FORCED * len(
      every
    )


def test_the_way_back_is_the_best_and_is_kept(scenarios, found):
  one, alone = found
  assert one.asked_C.all() and one.judged.trouble.all()
  assert (one.judged.merit[1] > one.judged.merit[0] + 0.5).all()
  assert one.judged.off_road[0].all() and not one.judged.off_road[1].any() and not one.judged.contact.any()
  assert one.scenario_D.tolist() == list(range(len(scenarios)))
  kept = dreams.tally(one)
  assert kept["kept"] == kept["trouble"] == len(scenarios) and kept["off_road"] == 0.5
  assert not len(alone.scenario_D) and not dream_records.records(scenarios, [alone], SHAPE, 1), (
    "no way led out"
  )


def test_who_is_in_trouble_in_some_draws_only_is_not_kept(scenarios, found):
  """What the others do may part the draws: then there was nothing to be led out of."""
  one = found[0].judged
  unsure = one._replace(trouble=np.array([[True] * len(scenarios), [False] + [True] * (len(scenarios) - 1)]))
  unsure = unsure._replace(merit=unsure.merit[::-1], away=unsure.away[::-1])  # the first way is the one back
  ways = iter([one._replace(**{n: getattr(unsure, n)[k] for n in one._fields}) for k in (0, 1)])
  forced = dreams.troubles(scenarios)["left by 1 m"]
  states = np.zeros_like(scenarios.state_CxAxTxS)
  again = dreams.dream(scenarios, lambda _, draw: states, forced, range(2), lambda _: next(ways))
  told = dreams.tally(again)
  assert told["kept"] == told["trouble"] == len(scenarios) - 1 and not again.kept_C[0]


def test_a_record_begins_in_trouble_and_holds_the_ego_s_moves(scenarios, found):
  [windows] = dream_records.records(scenarios, found[:1] * 2, SHAPE, domain=7)
  assert (
    len(windows) == 2
    and windows[0]["domain"] == 7
    and windows[0]["group_A"].tolist() == [1] * 3 + [2] * 3 + [0, 0]
  )
  window = windows[0]
  supervised = window["mask_TxA"].any(0)
  assert np.flatnonzero(supervised).tolist() == [0, 3] and window["mask_TxA"][:, supervised].all()
  np.testing.assert_allclose(window["state_TxAxS"][0, supervised, :3], 0, atol=1e-5)
  driven_TxAxS = motion.decode(window["state_TxAxS"][0], window["tokens_TxA"], DT)
  np.testing.assert_allclose(driven_TxAxS[:-1, :6], window["state_TxAxS"][:, :6], atol=1e-3)
  lateral = window["features_TxAxF"][:, 0, context.MAP][:, 0] * context.SPREAD[context.MAP][0] * 2
  assert lateral[0] == pytest.approx(1.0, abs=0.35) and abs(lateral[-1]) < 0.3
  assert not window["features_TxAxF"][:, 6:].any()


def test_dreams_are_a_domain_that_mixtures_find(scenarios, found, tmp_path):
  [logged] = dream_records.records(scenarios, found[:1], SHAPE, domain=0)  # stands for records of logs
  [dreamed] = dream_records.records(scenarios, found[:1], SHAPE, domain=1)
  examples = [("train", None, logged * 6), ("train", None, dreamed)]
  dataset_writer.write_dataset(
    tmp_path / "set",
    examples,
    SHAPE,
    ("straight", dream.DOMAIN),
    ("train",),
    {"source": "dream"},
    ("windows",),
  )
  dataset = datasets.open_dataset(tmp_path / "set")
  again = list(dream.windows_of(dataset, "train"))
  assert len(again) == 7
  np.testing.assert_array_equal(again[6]["tokens_TxA"], dreamed[0]["tokens_TxA"])
  source = reader.RecordSource(dataset, "train", ("domain",))
  natural = {"axes": "", "temperature": 1.0, "boosts": "", "seed": 0}
  labels, names = reader.labels(source, ["domain"]), {"domain": dataset.domains}
  mixed = mixtures.mixed(labels, names, only="", replay="domain=dream", replay_share=0.25, **natural)
  assert (mixed.at(np.arange(40)) == 6).sum() == 10
  logs = mixtures.mixed(labels, names, only="domain=straight", replay="", replay_share=0.0, **natural)
  assert not (logs.at(np.arange(40)) == 6).any()
