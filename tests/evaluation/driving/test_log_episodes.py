"""Logs as episodes: what is cut out of a scene, and that the drivers of a well-behaved one score well."""

import dataclasses

import jax
import numpy as np
import pytest

from data.errors import BadInput
from data.schema import Signal
from evaluation.driving import log_episodes
from evaluation.metrics import driving_score
from tests.data import small_town

SIZES = log_episodes.Sizes(frames=20, agents=4, segments=8, points=16, lines=2)


@jax.jit
def scored(episode):
  driven = driving_score.observe(episode, small_town.DT)
  return driving_score.sub_scores(episode, driven, small_town.DT)


def scores(scene, ego=0):
  found = scored(log_episodes.episode(scene, ego, SIZES))
  parts = zip(driving_score.SUB_SCORES, found.value_M.tolist(), found.defined_M.tolist(), strict=True)
  return {name: round(value, 4) for name, value, defined in parts if defined}


def test_who_drives():
  scene = small_town.town()
  assert log_episodes.drivers(scene, small_town.STEPS).tolist() == [0, 1, 2, 5]
  assert log_episodes.drivers(scene, small_town.STEPS + 1).tolist() == []


def test_an_episode_is_the_scene_as_the_ego_drove_it():
  scene = small_town.town()
  valid = scene.valid_TxA.copy()
  valid[:3, 0] = valid[9:, 0] = False
  valid[:, 3] = False
  made = log_episodes.episode(dataclasses.replace(scene, valid_TxA=valid), 0, SIZES)
  assert made.frames == 6
  np.testing.assert_array_equal(made.ego_Tx4[:6, 0], 12 + 4 * np.arange(6))
  assert (made.ego_Tx4[:6, 3] == 8).all()
  # The nearest first: pedestrian, bus, the car ahead, the truck behind; who is never there is left out.
  np.testing.assert_allclose(made.agents_size_Ax2[:, 0], [0.5, 11.0, 4.2, 9.0])
  assert made.agents_valid_TxA[:6].all() and not made.agents_valid_TxA[6:].any()
  assert float(made.reference_m) == pytest.approx(20)
  alone = dataclasses.replace(SIZES, agents=9)
  assert log_episodes.episode(scene, 0, alone).movable_A.tolist() == [True] * 5 + [False] * 4


def test_drivers_of_a_well_behaved_scene_score_well_wherever_it_lies():
  expected = {
    "no_at_fault_collision": 1, "drivable_area": 1, "driving_direction": 1, "progress": 1, "time_to_collision": 1,
    "lane_keeping": 1,
  }  # fmt: skip
  assert scores(small_town.town()) == expected
  assert scores(small_town.moved(small_town.town(), 2.5, (4000.0, -7000.0)), 5) == expected
  # The bus drives on where its lane ends.
  assert scores(small_town.town(), 2) == expected | {"drivable_area": 0, "lane_keeping": 0}


def test_a_red_light_of_the_own_path_is_seen():
  scene = small_town.town()
  signal = scene.signal_TxL.copy()
  signal[:, 2] = Signal.RED
  assert scores(dataclasses.replace(scene, signal_TxL=signal))["traffic_light"] == 0


def test_who_is_on_no_lane_is_refused_by_name():
  scene = small_town.town()
  lost = dataclasses.replace(scene, lane_TxA=np.full_like(scene.lane_TxA, -1))
  with pytest.raises(BadInput, match="town, agent 1"):
    log_episodes.episode(lost, 1, SIZES)
