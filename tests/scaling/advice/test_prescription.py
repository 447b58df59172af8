"""What is prescribed meets the law it was drawn from; rounding, repeats and reach are counted, not guessed."""

import dataclasses

import numpy as np
import pytest

from data.errors import BadInput
from scaling.advice import allocation, fitted, prescription, prescription_report
from scaling.advice.compute import Compute
from scaling.advice.data_at_hand import Data
from scaling.advice.prescription import Wish
from scaling.fitting import bootstrap
from scaling.laws import muennighoff
from tests.scaling import ladder

HERE = Data(1e9, 230.5)
NOWHERE = Data(None, None)
FLOPS = 2e13  # three times the largest budget


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
  return fitted.read(ladder.fit(tmp_path_factory.mktemp("fit"), ladder.motion()))


def prescribe(fit, flops=FLOPS, loss=None, inference=0.0, data=HERE, bound=False, planned=None):
  compute = None if flops is None else Compute(flops, "as given", bound, planned)
  return prescription_report.as_json(fit, ladder.motion(), Wish(flops, loss, inference), compute, data, 0)


def test_intervals_hold_the_truth_and_the_two_approaches_meet(fit):
  made, truth = prescribe(fit), allocation.for_budget(ladder.LAW, ladder.motion(), FLOPS)
  for name in ("params", "tokens", "loss"):
    low, high = made["approach3"]["ci95"][name]
    assert low < getattr(truth, name) < high and low < made["approach3"][name] < high
  assert made["approach3"]["params"] == pytest.approx(truth.params, rel=0.2)
  assert made["disagreement"]["intervals_meet"] and 0.5 < made["disagreement"]["params_ratio"] < 2
  assert 0 <= made["disagreement"]["penalty"] < 1e-3


def test_intervals_come_from_draws_that_belong_together(fit):
  """E, A, alpha ... trade off: the loss is far surer than coefficients drawn each by itself would have it."""
  joint = prescribe(fit)["approach3"]["ci95"]["loss"]
  rng = np.random.default_rng(0)
  shuffled = {f.name: rng.permutation(getattr(fit.draws, f.name)) for f in dataclasses.fields(fit.draws)}
  apart = allocation.for_budget(dataclasses.replace(fit.draws, **shuffled), ladder.motion(), FLOPS)
  assert np.ptp(bootstrap.interval(apart.loss)) > 5 * np.ptp(joint)


def test_the_width_is_the_better_of_the_two_around_the_optimum(fit):
  made, members = prescribe(fit), ladder.motion()
  taken, (other,) = made["config"], made["alternatives"]
  assert sorted([taken["params"], other["params"]]) == [
    members.params[i] for i in members.around(made["approach3"]["params"])
  ]
  assert taken["penalty"] < other["penalty"]
  everywhere = [
    fit.law.loss(n, FLOPS / k) for n, k in zip(members.params, members.flops_per_token, strict=True)
  ]
  assert taken["loss"] == pytest.approx(min(everywhere), rel=1e-5)
  assert taken["penalty"] == pytest.approx(taken["loss"] - made["approach3"]["loss"], abs=1e-9)


def test_data_is_rounded_down_to_whole_batches_within_the_budget(fit):
  taken = prescribe(fit)["config"]
  batch = taken["point"]["data.batch_windows"] * HERE.tokens_per_window
  assert taken["steps"] == np.ceil(taken["tokens"] / batch)  # as the training program counts them
  assert taken["tokens"] == int(taken["steps"] * batch) == taken["point"]["tokens"]
  assert 0 <= FLOPS - taken["flops"] < 1.01 * batch * taken["flops"] / taken["tokens"]
  assert prescribe(fit, data=NOWHERE)["config"]["steps"] is None


def test_the_interval_of_one_run_holds_its_noise(fit):
  made = prescribe(fit)
  low, high = made["config"]["ci95"]
  assert high - low > made["approach3"]["ci95"]["loss"][1] - made["approach3"]["ci95"]["loss"][0]
  silent = dataclasses.replace(fit, noise=float("nan"), roll_out=float("nan"))
  sd, interval = prescription.one_run(silent, _choice(fit), 0)
  drawn = fit.draws.loss(made["config"]["params"], made["config"]["tokens"])
  assert sd == 0 and interval == pytest.approx(fit.resampling.interval(drawn, made["config"]["loss"]))
  loud = dataclasses.replace(fit, noise=0.03, roll_out=0.04)
  assert prescription.one_run(loud, _choice(fit), 0)[0] == pytest.approx(0.05)


def _choice(fit):
  wish = Wish(FLOPS, None, 0.0)
  best, _ = prescription.optimum(fit, ladder.motion(), wish)
  return prescription.choices(fit, ladder.motion(), wish, best, HERE, 0)[0]


def test_reach_is_told_always_and_beyond_a_hundred_times_first(fit):
  near = prescribe(fit)
  assert not near["extrapolation"]["beyond"]
  assert near["extrapolation"]["flops"] == pytest.approx(near["config"]["flops"] / fit.ranges["flops"][1])
  assert near["extrapolation"]["flops"] == pytest.approx(FLOPS / ladder.BUDGETS[-1], rel=0.01)
  text = prescription_report.summary(near, ["python"])
  assert "over the table's largest run: 3.12 times in C" in text and "EXTRAPOLATION" not in text
  far = prescribe(fit, 101 * fit.ranges["flops"][1] * 1.01)
  assert far["extrapolation"]["beyond"] and far["extrapolation"]["params"] < 100
  first = prescription_report.summary(far, ["python"]).splitlines()[0]
  assert first.startswith("WARNING: EXTRAPOLATION beyond the table's largest run, 102 times in C")
  wide = dataclasses.replace(fit, ranges=fit.ranges | {"tokens": (1.0, 10.0)})
  assert prescribe(wide)["extrapolation"]["beyond"]  # in D alone


def test_below_the_table_is_told_as_beyond_it(fit):
  least = fit.ranges["flops"][0]
  near = prescribe(fit, least / 20)
  assert near["extrapolation"]["under_smallest"]["flops"] == pytest.approx(20, rel=0.1)
  text = prescription_report.summary(near, ["python"])
  assert "under the table's smallest run, times: 20" in text and "EXTRAPOLATION" not in text
  assert "under the table" not in prescription_report.summary(prescribe(fit), ["python"])
  wide = dataclasses.replace(fit, ranges=fit.ranges | {"flops": (least * 10, fit.ranges["flops"][1])})
  far = prescription_report.summary(prescribe(wide, least / 20), ["python"]).splitlines()[0]
  assert far.startswith("WARNING: EXTRAPOLATION below the table's smallest run, 20")


@pytest.mark.parametrize(
  ("flops", "data", "words"),
  [
    (1.0, NOWHERE, r"the smallest of the family,? on .* tokens: .* tokens per parameter .*; give more FLOPs"),
    (1e5, NOWHERE, r"on [56]\.\d* tokens: 0\.00\d+ tokens per parameter"),
    (3e6, HERE, "less than one batch of data; give more FLOPs"),
    (1e45, NOWHERE, r"the largest of the family,? on .* tokens per parameter .*; give fewer FLOPs"),
  ],
)
def test_budgets_that_make_no_run_are_refused(fit, flops, data, words):
  with pytest.raises(BadInput, match=words):
    prescribe(fit, flops, data=data)


def test_tokens_beyond_int64_are_prescribed(fit):
  far = prescribe(fit, 5e34, data=NOWHERE)
  assert far["config"]["tokens"] > 2**64 and 0 < far["config"]["loss"] < 1
  assert far["extrapolation"]["beyond"]


def test_a_life_of_inference_takes_a_smaller_model_of_the_same_loss(fit):
  usual, made = prescribe(fit), prescribe(fit, inference=1e10)
  assert made["approach3"]["loss"] == pytest.approx(usual["approach3"]["loss"], rel=1e-9)
  assert made["approach3"]["params"] < 0.8 * usual["approach3"]["params"]
  life = made["life"]
  assert life["total"] == pytest.approx(life["training"] + life["inference"]) and 0 < life["saving"] < 1
  text = prescription_report.summary(made, ["python"])
  assert "the budget only set the loss: training takes 4.04 times as much compute" in text
  assert life["training"] / FLOPS == pytest.approx(4.04, abs=0.01)
  assert "only set the loss" not in prescription_report.summary(usual, ["python"])
  assert life["compute_optimal"]["training"] == pytest.approx(FLOPS, rel=1e-6)
  assert made["config"]["loss"] == pytest.approx(made["approach3"]["loss"], rel=1e-4)  # whole batches apart
  assert made["penalty_unit"] == prescription_report.COST and 0 <= made["config"]["penalty"] < 0.5
  assert made["approach2"] is None


def test_a_target_loss_inverts_a_budget(fit):
  by_loss = prescribe(fit, flops=None, loss=prescribe(fit)["approach3"]["loss"])
  assert by_loss["approach3"]["flops"] == pytest.approx(FLOPS, rel=1e-4)
  low, high = by_loss["approach3"]["ci95"]["flops"]
  assert low < FLOPS < high
  with pytest.raises(
    BadInput, match=r"no model reaches 0\.5: the irreducible loss is 0\.\d+ \[0\.\d+, 0\.\d+\]"
  ):
    prescribe(fit, flops=None, loss=0.5)


def test_passes_over_the_data_are_counted_and_priced(fit):
  taken = prescribe(fit)["config"]
  few = Data(taken["tokens"] / 8, HERE.tokens_per_window)
  made = prescribe(fit, data=few)
  assert made["data"]["passes"] == pytest.approx(8) and made["data"]["penalty"] is None
  assert any("D is 8.00 passes over the data" in text for text in made["warnings"])
  priced = prescribe(fit, data=dataclasses.replace(few, repetition=(15.4, 5.3)))
  oracle = muennighoff.Law(fit.law, 15.4, 5.3).loss(taken["params"], taken["tokens"], few.unique)
  assert priced["data"]["loss"] == pytest.approx(oracle) and priced["data"]["penalty"] > 1e-3
  assert not any("passes" in text for text in priced["warnings"])
  assert "which costs +0.0" in prescription_report.summary(priced, ["python"])
  assert not any("passes" in text for text in prescribe(fit)["warnings"])


def test_bounds_and_plans_for_other_models_are_said(fit):
  said = " ".join(prescribe(fit, bound=True, planned=1e9)["warnings"])
  assert "upper bound of the MFU, no expectation" in said and "a model of N = 1e+09" in said
  own = prescribe(fit)["config"]["params"]
  assert "a model of N" not in " ".join(prescribe(fit, planned=own)["warnings"])


def test_a_table_of_another_model_is_noticed(fit):
  assert prescription.other_count(fit, ladder.motion()) == ""
  assert "are they one model?" in prescription.other_count(fit, ladder.six(ladder.motion()))


def test_profiles_without_a_line_leave_approach_3_alone(fit):
  alone = dataclasses.replace(fit, lines=dict.fromkeys(fit.lines))
  made = prescribe(alone)
  assert made["approach2"] is None and "Approach 2 says nothing" in " ".join(made["warnings"])
  assert made["approach3"] == prescribe(fit)["approach3"]
