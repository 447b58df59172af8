import dataclasses

import pytest

from data import sumo
from evaluation.driving import rounds


@pytest.fixture(scope="module")
def task():
  pytest.importorskip("libsumo", reason="needs the extra `sim`")
  job = dataclasses.replace(sumo.plan(1000, 1, 1, 0.1, 0.1, ("roundabout",))[0], density=4.0)
  return rounds.Round(job, 4, 40, ("constant_velocity", "lane_keeping_idm", "log_replay"))
