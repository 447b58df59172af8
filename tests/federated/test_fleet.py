"""Partitions: whole scenes, every record once, cells that stay together; drafts that depend on their round alone."""

import numpy as np
import pytest

from data.errors import BadInput
from federated import drafting, fleet

HARDWARE = fleet.Hardware(2.0, 1000.0, 4000.0, 0.0, 1.0)


def labels(scenes: int = 24, each: int = 5):
  scene = np.repeat(np.arange(scenes) * 7, each)  # ids need not be dense
  return {"scene": scene, "domain": scene // 7 % 3, "weather": scene // 7 % 2}


def test_by_metadata_deals_every_record_once_and_keeps_cells_apart():
  named = labels()
  made = fleet.by_metadata(named, ("domain", "weather"), 12, seed=0)
  everything = np.sort(np.concatenate([own for _, own in made]))
  np.testing.assert_array_equal(everything, np.arange(len(named["scene"])))
  for cell, own in made:
    assert all(set(named[axis][own]) == {value} for axis, value in cell.items())
  found = fleet.assemble(made, named, HARDWARE, 0)
  assert found.vehicles == 12 and len(found.cells) == 6
  np.testing.assert_array_equal(np.bincount(found.home_V), 2)


def test_dirichlet_shares_go_from_alike_to_apart_with_alpha():
  named = labels(scenes=300)

  def apart(alpha):
    made = fleet.dirichlet(named, "domain", alpha, 5, seed=0)
    assert np.array_equal(np.sort(np.concatenate([own for _, own in made])), np.arange(1500))
    share = np.stack([np.bincount(named["domain"][own], minlength=3) / len(own) for _, own in made])
    return share.std(0).mean()

  assert apart(1000.0) < 0.05 < 0.15 < apart(0.5)


@pytest.mark.parametrize(
  ("make", "says"),
  [
    (lambda: fleet.by_metadata(labels(), ("domain", "weather"), 5, 0), "5 vehicles for 6 kinds"),
    (lambda: fleet.by_metadata(labels(), ("domain",), 25, 0), "some would have no data"),
    (lambda: fleet.dirichlet(labels(scenes=3), "domain", 0.1, 20, 0), "have no data at alpha 0.1"),
    (
      lambda: fleet.assemble([({}, np.arange(3)), ({}, np.arange(3, 9))], labels(), HARDWARE, 0),
      "scene 0 lies in",
    ),
    (lambda: fleet.assemble([({}, np.arange(0))], labels(), HARDWARE, 0), "vehicle 0: has no data"),
  ],
)
def test_a_fleet_that_cannot_be_is_refused_by_name(make, says):
  with pytest.raises(BadInput, match=says):
    make()


def drafted(number, **changes):
  found = fleet.assemble(fleet.by_metadata(labels(), ("domain",), 6, 0), labels(), HARDWARE, 0)
  settings = {"clients": 4, "steps": 8, "batch": 3, "epochs": 1.0, "seed": 0} | changes
  return found, drafting.draft(found, number, **settings)


def test_a_draft_is_a_function_of_its_round_and_an_epoch_sees_every_record():
  found, first = drafted(3)
  _, again = drafted(3)
  _, other = drafted(4)
  np.testing.assert_array_equal(first.record_CxKxB, again.record_CxKxB)
  assert not np.array_equal(first.record_CxKxB, other.record_CxKxB)
  assert len(set(first.client_C.tolist())) == 4
  for row, vehicle in enumerate(first.client_C):
    own = found.records[vehicle]
    seen = first.record_CxKxB[row][first.real_CxK[row]].reshape(-1)
    assert first.real_CxK[row].sum() == -(-len(own) // 3)
    assert set(seen) == set(own.tolist())


def test_a_round_lasts_as_long_as_download_steps_and_upload():
  found, draft = drafted(0)
  np.testing.assert_allclose(
    drafting.seconds(found, draft, 500, 2000), 0.5 + draft.real_CxK.sum(1) / 2.0 + 0.5
  )


def test_whom_nobody_reaches_weighs_nothing():
  found = fleet.assemble(fleet.by_metadata(labels(), ("domain",), 6, 0), labels(), HARDWARE, 0)
  often = [
    drafting.draft(
      fleet.Fleet(**{**vars(found), "reached_V": np.full(6, 0.3)}), number, 6, 1, 1, 1.0, 0
    ).weight_C
    for number in range(300)
  ]
  assert abs((np.stack(often) > 0).mean() - 0.3) < 0.04  # 1,800 draws: three standard errors
