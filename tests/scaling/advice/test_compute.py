"""Compute at hand: chips by hours by what a plan allows."""

import json

import pytest

from data.errors import BadInput
from scaling.advice import compute

PLAN = {"topology": "v5e:4x4", "fits": True, "mfu_bound": 0.6, "params": 1e9}


@pytest.fixture
def plan(tmp_path):
  def write(**changed):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN | changed))
    return path

  return write


def test_chips_hours_and_mfu_multiply():
  found = compute.of_slice("v5p:4x4x4", 2.0, 0.25)
  assert found.flops == pytest.approx(64 * 459e12 * 7200 * 0.25, rel=1e-12)
  assert not found.bound and "64 chips" in found.source and "25.0%" in found.source
  assert compute.of_flops(1e20).flops == 1e20


def test_a_plans_bound_is_said_to_be_one_and_an_expectation_may_lie_below(plan):
  bound = compute.of_plan(plan(), 1.0, None)
  assert bound.bound and "upper bound" in bound.source and bound.planned == 1e9
  assert bound.flops == pytest.approx(16 * 197e12 * 3600 * 0.6, rel=1e-12)
  expected = compute.of_plan(plan(), 1.0, 0.3)
  assert not expected.bound and expected.flops == pytest.approx(bound.flops / 2)
  with pytest.raises(
    BadInput, match=r"--mfu: is 0\.7, above the 0\.6 that the planned program could reach at most"
  ):
    compute.of_plan(plan(), 1.0, 0.7)


@pytest.mark.parametrize(
  ("call", "words"),
  [
    (lambda: compute.of_flops(-1.0), "--budget_flops: is -1"),
    (lambda: compute.of_flops(float("inf")), "--budget_flops: is inf"),
    (lambda: compute.of_flops(float("nan")), "--budget_flops: is nan"),
    (lambda: compute.of_slice("v5e:4x4", None, 0.4), "--hours: is missing; say for how long v5e:4x4"),
    (lambda: compute.of_slice("v5e:4x4", 0.0, 0.4), "--hours: is 0"),
    (lambda: compute.of_slice("v5e:4x4", 1.0, None), "give the MFU you expect"),
    (lambda: compute.of_slice("v5e:4x4", 1.0, 40.0), "--mfu: is 40; give a share"),
    (lambda: compute.of_slice("v5e:4x5", 1.0, 0.4), "no slice '4x5' of v5e"),
  ],
)
def test_what_is_missing_or_impossible_is_said(call, words):
  with pytest.raises(BadInput) as caught:
    call()
  assert words in str(caught.value)


def test_a_plan_that_does_not_fit_or_is_none_is_refused(plan):
  with pytest.raises(BadInput, match="does not fit v5e:4x4"):
    compute.of_plan(plan(fits=False, mfu_bound=None), 1.0, None)
  path = plan()
  path.write_text(json.dumps({"topology": "v5e:4x4"}))
  with pytest.raises(BadInput, match=r"has no 'fits'; give the plan\.json of scaling\.plan"):
    compute.of_plan(path, 1.0, None)
