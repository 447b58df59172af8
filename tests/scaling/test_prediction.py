"""Predictions: which estimator is trusted, how good it is on surfaces it was not made for, and the judgement."""

import numpy as np
import pytest

from data.errors import BadInput
from scaling import isoflop, parametric, prediction, table
from tests.scaling.surface import DRIVING, Surface, write
from tests.scaling.surface import isoflop as ladder

BUDGETS = 1e11 * 4.0 ** np.arange(4)
FACTORS = (0.2, 0.45, 1, 2.2, 5)


def predict(tmp_path, rows, target):
  runs = table.read_runs(write(tmp_path / "runs.csv", rows))
  iso, fitted = isoflop.fit(runs, 0, 0), parametric.fit(runs.params, runs.tokens, runs.loss, "huber")
  errors = prediction.roll_out(runs, iso, "huber")
  return prediction.forecast(runs, iso, fitted, errors, target, 0), runs


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
  rows = []
  for budget in BUDGETS[:3]:
    best, least = 1e4 * (budget / 1e12) ** 0.8, (budget / 1e12) ** -0.06
    for factor in FACTORS:
      params = best * factor
      loss = least * np.exp(0.03 * np.log(factor) ** 2)
      row = {
        "run_id": len(rows),
        "params": params,
        "tokens": budget / 6 / params,
        "flops": budget,
        "loss": loss,
      }
      rows.append(row)
  best = 1e4 * (BUDGETS[3] / 1e12) ** 0.8
  said, _ = predict(tmp_path, rows, prediction.Target(best, BUDGETS[3] / 6 / best, BUDGETS[3]))
  assert said["estimator"] == "power" and said["roll_out_error"]["power"] < 1e-9
  assert said["loss"] == pytest.approx((BUDGETS[3] / 1e12) ** -0.06, rel=1e-9)
  noiseless = ladder(DRIVING, BUDGETS[:3], FACTORS, 0.0)
  said, _ = predict(tmp_path, noiseless, at(DRIVING, BUDGETS[3]))
  assert said["estimator"] != "power"
  truth = DRIVING.loss(*DRIVING.optimum(BUDGETS[3]))
  assert said["estimates"]["parametric"] == pytest.approx(truth, rel=1e-6)
  assert abs(said["loss"] / truth - 1) < 0.004 < abs(said["estimates"]["power"] / truth - 1)


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
  said, runs = predict(tmp_path, rows, at(DRIVING, BUDGETS[3]))
  written = prediction.write(tmp_path / "prediction.json", said)
  assert prediction.write(tmp_path / "prediction.json", said) == written  # the first time stays
  outcome = {"run_id": "x", "loss": str(written["loss"] * 1.01), "started": "2999-01-01T00:00:00Z"}
  judged = prediction.judge(written, runs, outcome)
  assert judged["loss_error_percent"] == pytest.approx(100 * (1 / 1.01 - 1))
  assert judged["written_before"] and judged["same_table"]
  late = prediction.judge(written, runs, outcome | {"started": "2020-01-01T00:00:00Z"})
  assert late["written_before"] is False
  assert prediction.judge(written, runs, outcome | {"started": ""})["written_before"] is None
  assert not prediction.judge(written, runs.where(np.arange(15) < 14), outcome)["same_table"]
  with pytest.raises(BadInput, match="not overwritten"):
    prediction.write(tmp_path / "prediction.json", said | {"flops": 1.0})
