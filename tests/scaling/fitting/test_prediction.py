"""Predictions: which estimator is trusted, how good it is on surfaces it was not made for, and the judgement."""

import dataclasses

import numpy as np
import pytest

from data.errors import BadInput
from scaling import table
from scaling.fitting import bootstrap, isoflop, parametric, prediction
from tests.scaling.surface import DRIVING, Surface, write
from tests.scaling.surface import isoflop as ladder

BUDGETS = 1e11 * 4.0 ** np.arange(4)
FACTORS = (0.2, 0.45, 1, 2.2, 5)
CASES = bootstrap.Resampling(15, parametric.PARAMETERS, "case")


def predict(tmp_path, rows, target):
  runs = table.read_runs(write(tmp_path / "runs.csv", rows))
  iso, fitted = isoflop.fit(runs, 0, 0), parametric.fit(runs.params, runs.tokens, runs.loss, "huber")
  errors = prediction.roll_out(runs, iso, "huber")
  return prediction.forecast(runs, iso, fitted, errors, target, 0, CASES), runs


def at(surface, budget) -> prediction.Target:
  params, tokens = surface.optimum(budget)
  return prediction.Target(params, tokens, budget)


@pytest.mark.parametrize(
  "surface", [DRIVING, Surface(0.6, 1.2, 9.0, 0.16, 0.2), Surface(0.7, 1.5, 300.0, 0.2, 0.5)]
)
def test_four_times_beyond_within_two_percent(tmp_path, surface):
  """Ten noisy ladders each, 5 sizes x 3 budgets: loss within 2%, the drop within 30% in nine of ten."""
  drops, truth = [], surface.loss(*surface.optimum(BUDGETS[3]))
  for seed in range(10):
    rows = ladder(surface, BUDGETS[:3], FACTORS, 0.002, seed=seed)
    said, _ = predict(tmp_path, rows, at(surface, BUDGETS[3]))
    assert said["loss"] == pytest.approx(truth, rel=0.02)
    best = said["best_loss_of_largest_budget"]
    drops.append(abs(said["drop"] / (best - truth) - 1) < 0.3)
  assert sum(drops) >= 9


def test_rule_trusts_what_rolled_out_better(tmp_path):
  """Profiles that are parabolas around a pure power law: the power line is exact, the sum of two is not."""
  said, _ = predict(tmp_path, parabolas(), off_frontier(1.0)[0])
  assert said["estimator"] == "power" and said["roll_out_error"]["power"] < 1e-9
  assert said["loss"] == pytest.approx((BUDGETS[3] / 1e12) ** -0.06, rel=1e-9)
  noiseless = ladder(DRIVING, BUDGETS[:3], FACTORS, 0.0)
  said, _ = predict(tmp_path, noiseless, at(DRIVING, BUDGETS[3]))
  assert said["estimator"] != "power"
  truth = DRIVING.loss(*DRIVING.optimum(BUDGETS[3]))
  assert said["estimates"]["parametric"] == pytest.approx(truth, rel=1e-6)
  assert abs(said["loss"] / truth - 1) < 0.004 < abs(said["estimates"]["power"] / truth - 1)


def parabolas(noise: float = 0.0, seed: int = 0, factors=FACTORS) -> list[dict]:
  """Budgets whose profiles are what Approach 2 assumes: ln L = ln L*(C) + 0.03 (ln N - ln N*(C))^2."""
  rng, rows = np.random.default_rng(seed), []
  for budget in BUDGETS[:3]:
    best, least = 1e4 * (budget / 1e12) ** 0.8, (budget / 1e12) ** -0.06
    for factor in factors:
      loss = least * np.exp(0.03 * np.log(factor) ** 2 + noise * rng.standard_normal())
      row = {"run_id": len(rows), "params": best * factor, "tokens": budget / 6 / best / factor}
      rows.append(row | {"flops": budget, "loss": loss})
  return rows


def off_frontier(factor: float) -> tuple[prediction.Target, float]:
  """A run `factor` times larger than the optimum at BUDGETS[3], and its loss."""
  best = 1e4 * (BUDGETS[3] / 1e12) ** 0.8 * factor
  loss = (BUDGETS[3] / 1e12) ** -0.06 * np.exp(0.03 * np.log(factor) ** 2)
  return prediction.Target(best, BUDGETS[3] / 6 / best, BUDGETS[3]), float(loss)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_a_run_off_the_frontier_costs_its_distance(tmp_path, factor):
  """Four times off the optimum costs 0.03 (ln 4)^2, 6%: exact on parabolas."""
  target, loss = off_frontier(factor)
  said, _ = predict(tmp_path, parabolas(), target)
  assert said["estimator"] == "power" and said["loss"] == pytest.approx(loss, rel=1e-9)


def test_interval_knows_that_the_optimum_is_an_estimate(tmp_path):
  """Of 60 noisy ladders about 57 cover a run 6 times off the frontier; 51 is three standard errors away."""
  target, loss = off_frontier(6.0)
  covered = 0
  for seed in range(60):
    rows = parabolas(0.004, seed, np.geomspace(0.25, 4, 9))
    iso = isoflop.fit(table.read_runs(write(tmp_path / "runs.csv", rows)), 400, seed)
    low, high = bootstrap.interval(prediction.frontier_estimate(iso, 0.0, 0.0, target)[1])
    covered += low <= loss <= high
  assert covered >= 51


def test_interval_is_as_wide_as_noise_and_roll_out_error_make_it(tmp_path):
  """Without noise in the table the draws agree: what is left is hypot(0.03, 0.04) = 0.05 in ln L, planted."""
  runs = table.read_runs(write(tmp_path / "runs.csv", parabolas()))
  fitted = parametric.fit(runs.params, runs.tokens, runs.loss, "huber")
  iso = dataclasses.replace(isoflop.fit(runs, 4000, 0), noise=0.03)
  errors = {"power": 0.04, "floored": 0.05, "parametric": 0.06}
  said = prediction.forecast(runs, iso, fitted, errors, off_frontier(1.0)[0], 0, CASES)
  low, high = np.log(np.array(said["ci95"]) / said["loss"])
  assert (low, high) == pytest.approx((-1.96 * 0.05, 1.96 * 0.05), rel=0.1)
  drop = said["best_loss_of_largest_budget"] - np.array(said["ci95"])[::-1]
  assert said["drop_ci95"] == pytest.approx(list(drop))


def test_the_parametric_interval_is_corrected_as_a_prescriptions_is(tmp_path):
  """Draws that sit above the estimate by one of their standard deviations: a percentile interval leaves it out."""
  runs = table.read_runs(write(tmp_path / "runs.csv", ladder(DRIVING, BUDGETS[:3], FACTORS, 0.0)))
  weights = bootstrap.case_weights(len(runs), 200, 0)
  fitted = parametric.fit(runs.params, runs.tokens, runs.loss, "huber", weights)
  floors = fitted.law.E * np.exp(0.01 * (1 + np.random.default_rng(0).standard_normal(200)))
  fitted = dataclasses.replace(fitted, draws=dataclasses.replace(fitted.draws, E=floors))
  iso = dataclasses.replace(isoflop.fit(runs, 200, 0), noise=float("nan"))
  errors = {"power": 1.0, "floored": 1.0, "parametric": 0.0}
  target = at(DRIVING, BUDGETS[3])
  said = prediction.forecast(runs, iso, fitted, errors, target, 0, CASES)
  drawn = fitted.draws.loss(target.params, target.tokens)
  assert said["ci95"] == pytest.approx(CASES.interval(drawn, said["loss"]), rel=1e-12)
  assert said["ci95"][0] < bootstrap.interval(drawn)[0] - 0.002


def test_an_uncertain_floor_widens_the_floored_interval(tmp_path):
  """Each draw extrapolates above its own floor E: L = E + (L_2 - E)^2 / (L_1 - E) one equal step further."""
  rows = [row for row in parabolas() if row["flops"] < BUDGETS[2]]
  iso = isoflop.fit(table.read_runs(write(tmp_path / "runs.csv", rows)), 5, 0)
  params = float(iso.params(BUDGETS[2]))
  target = prediction.Target(params, BUDGETS[2] / 6 / params, BUDGETS[2])
  one, two = (profile.loss for profile in iso.interior)
  floors = np.array([0.0, 0.2, 0.5, 0.9, 2.0])
  loss, draws = prediction.frontier_estimate(iso, 0.5, floors, target)
  expected = floors + (two - floors) ** 2 / (one - floors)
  assert loss == pytest.approx(expected[2]) and draws[:4] == pytest.approx(expected[:4])
  assert np.isnan(draws[4])  # a floor above the losses
  runs = table.read_runs(tmp_path / "runs.csv")
  fitted = parametric.fit(runs.params, runs.tokens, runs.loss, "huber", np.ones((5, len(runs))))
  drawn = dataclasses.replace(fitted.draws, E=np.array([0.0, 0.2, 0.5, 0.7, 0.9]))
  errors = {"power": 1.0, "floored": 0.0, "parametric": 1.0}
  law = dataclasses.replace(fitted.law, E=0.5)
  fitted = dataclasses.replace(fitted, law=law, draws=drawn)
  low, high = prediction.forecast(runs, iso, fitted, errors, target, 0, CASES)["ci95"]
  assert high - low > 0.9 * (expected[3] - expected[0])


def test_targets_within_the_table_or_of_another_model_are_refused(tmp_path):
  runs = table.read_runs(write(tmp_path / "runs.csv", parabolas()))
  target, _ = off_frontier(1.0)
  prediction.require_larger(runs, target)
  beyond = runs.params.max() * 2
  prediction.require_larger(runs, prediction.Target(beyond, BUDGETS[3] / 7.5 / beyond, BUDGETS[3]))
  for params, ratio in ((target.params, 6.4), (target.params, 6e-3), (beyond, 8.0)):
    wrong = prediction.Target(params, BUDGETS[3] / ratio / params, BUDGETS[3])
    with pytest.raises(BadInput, match=r"C / \(N D\)"):
      prediction.require_larger(runs, wrong)
  with pytest.raises(BadInput, match="not beyond the table"):
    prediction.require_larger(runs, dataclasses.replace(target, flops=BUDGETS[2] * 1.05))


def test_optimum_follows_the_counted_flops(tmp_path):
  """With C = k(N) N D and k falling in N, as small models' logits make it, 6ND would misplace the optimum."""
  params = np.geomspace(1e3, 1e5, 9)
  per_nd = 6 * (params / 1e3) ** -0.2
  rows = [
    {"run_id": i, "params": n, "tokens": 1e12 / (k * n), "flops": 1e12, "loss": 1.0}
    for i, (n, k) in enumerate(zip(params, per_nd, strict=True))
  ]
  runs = table.read_runs(write(tmp_path / "runs.csv", rows))
  law = parametric.Law(0.8, 4.2, 110.0, 0.40, 0.42)
  found = prediction.optimum(law, runs, 1e12)
  # d/dN [A N^-alpha + B (c N^0.8)^beta] = 0 with D = C / (6 * 1e3^0.2 N^0.8)
  c = 6 * 1e3**0.2 / 1e12
  expected = (law.alpha * law.A / (0.8 * law.beta * law.B * c**law.beta)) ** (
    1 / (law.alpha + 0.8 * law.beta)
  )
  assert found.params == pytest.approx(expected, rel=0.01)


def test_judgement(tmp_path):
  rows = ladder(DRIVING, BUDGETS[:3], FACTORS, 0.0)
  said, _ = predict(tmp_path, rows, at(DRIVING, BUDGETS[3]))
  written = prediction.write(tmp_path / "prediction.json", said)
  assert prediction.write(tmp_path / "prediction.json", said) == written  # the first time stays
  outcome = {"run_id": "x", "loss": str(written["loss"] * 1.01), "started": "2999-01-01T00:00:00Z"}
  judged = prediction.judge(written, [outcome])
  assert judged["loss_error_percent"] == pytest.approx(100 * (1 / 1.01 - 1))
  assert judged["written_before"]
  late = outcome | {"started": "2020-01-01T00:00:00Z"}
  assert prediction.judge(written, [outcome, late])["written_before"] is False
  assert prediction.judge(written, [outcome, outcome | {"started": ""}])["written_before"] is None
  with pytest.raises(BadInput, match="not overwritten"):
    prediction.write(tmp_path / "prediction.json", said | {"flops": 1.0})
