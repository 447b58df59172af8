"""Logs that cannot be, in what is to be forecast."""

import dataclasses

import numpy as np
import pytest

from data.errors import BadInput
from evaluation.forecasting.cases import LEAPT, NO_MAP, NO_POSITION, make_cases
from tests.evaluation.test_forecast import WINDOW, scene_with

LANES = ("xy_Nx2", "width_L", "speed_limit_L", "type_L", "road_L", "successor_Ex2", "left_L", "right_L")


def test_agents_whose_log_cannot_be_are_named_and_the_others_forecast():
  scene = scene_with()
  position, heading = scene.position_TxAx2.copy(), scene.heading_TxA.copy()
  position[45:, 2] += 9  # 90 m/s, in what is to be forecast
  position[20, 3] = heading[50, 4] = np.nan
  lanes = scene.lanes
  nowhere = dataclasses.replace(
    lanes, splits=np.zeros(1, np.int32), **{name: getattr(lanes, name)[:0] for name in LANES}
  )
  broken = dataclasses.replace(
    scene, position_TxAx2=position, heading_TxA=heading, lanes=nowhere, signal_TxL=scene.signal_TxL[:, :0],
    lane_TxA=np.full_like(scene.lane_TxA, -1),
  )  # fmt: skip
  cases = make_cases([broken], WINDOW, 3.0, 3.0, 0)
  assert cases.faults == {NO_POSITION: 2, LEAPT: 1, NO_MAP: 1}
  assert cases.scored_BxA.sum() == 3 and cases.left_out == 0 and not cases.windows["spacing_A"].any()
  for value in (cases.windows["features_TxAxF"], cases.history_BxHxAx2, cases.truth_BxAxNx2):
    assert np.isfinite(value).all()
  assert make_cases([scene], WINDOW, 3.0, 3.0, 0).faults == {}
  with pytest.raises(BadInput, match="no agent is logged"):
    make_cases([dataclasses.replace(scene, heading_TxA=np.full_like(heading, np.nan))], WINDOW, 3.0, 3.0, 0)
