"""IsoFLOP profiles against surfaces whose optimum is known in closed form."""

import numpy as np
import pytest

from scaling import table
from scaling.fitting import bootstrap, isoflop, refusals
from tests.scaling.surface import DRIVING, Surface, write
from tests.scaling.surface import isoflop as ladder

BUDGETS = 1e11 * 4.0 ** np.arange(4)


def runs_of(tmp_path, rows):
  return table.read_runs(write(tmp_path / "runs.csv", rows))


def test_parabola_is_recovered_exactly(tmp_path):
  """ln L = 0.1 + 0.05 (ln N - ln N*)^2 with N* ~ C^0.6 is what the method assumes: no error is left."""
  rows = []
  for budget in BUDGETS:
    best = 1e4 * (budget / 1e12) ** 0.6
    for factor in (0.3, 0.6, 1.1, 2.0, 3.5):
      params = best * factor
      loss = np.exp(0.1 * (budget / 1e12) ** -0.05 + 0.05 * np.log(factor) ** 2)
      rows.append({"run_id": len(rows), "params": params, "tokens": budget / 6 / params, "flops": budget})
      rows[-1]["loss"] = loss
  found = isoflop.fit(runs_of(tmp_path, rows), 0, 0)
  assert [profile.edge for profile in found.profiles] == [""] * 4
  assert found.params.exponent == pytest.approx(0.6, abs=1e-9)
  assert found.tokens.exponent == pytest.approx(0.4, abs=1e-9)
  assert found.params(1e12) == pytest.approx(1e4, rel=1e-8)
  assert found.noise == pytest.approx(0, abs=1e-9)
  for profile in found.profiles:
    assert profile.loss == pytest.approx(np.exp(0.1 * (profile.flops / 1e12) ** -0.05), rel=1e-9)


def test_symmetric_surface_gives_its_exponent(tmp_path):
  """With alpha = beta every profile is a cosh: a centred grid finds the minimum and the exponent."""
  surface = Surface(0.8, 20.0, 20.0, 0.3, 0.3)
  found = isoflop.fit(runs_of(tmp_path, ladder(surface, BUDGETS, (0.5, 0.7, 1, 1.4, 2), 0.0)), 0, 0)
  assert found.params.exponent == pytest.approx(0.5, abs=1e-3)
  assert found.params(1e13) == pytest.approx(surface.optimum(1e13)[0], rel=0.01)


def test_edge_and_missing_minima_are_left_out(tmp_path):
  rows = ladder(DRIVING, BUDGETS[:3], (0.3, 0.6, 1, 1.8, 3), 0.0)
  rows += ladder(DRIVING, BUDGETS[3:], (1.5, 2, 3, 4, 6), 0.0)
  two = ladder(DRIVING, [BUDGETS[3] * 4], (0.5, 1), 0.0)
  concave = ladder(DRIVING, [BUDGETS[3] * 16], (0.5, 0.8, 1.2, 2, 2.5), 0.0)
  for row, loss in zip(concave, (0.95, 0.90, 1.1, 1.11, 1.0), strict=True):
    row["loss"] = loss
  rows = [row | {"run_id": i} for i, row in enumerate(rows + two + concave)]
  found = isoflop.fit(runs_of(tmp_path, rows), 0, 0)
  edges = [profile.edge for profile in found.profiles]
  assert edges[:3] == ["", "", ""]
  assert edges[3] == "the best size is the smallest"
  assert edges[4] == "2 sizes make no parabola"
  assert edges[5] == "the profile is not convex"
  kinds = [type(refusal) for refusal in found.refusals]
  assert kinds == [refusals.EdgeMinimum, refusals.TooFewRuns, refusals.NotConvex]
  alone = isoflop.fit(runs_of(tmp_path, rows[:15]), 0, 0)
  assert found.params.exponent == alone.params.exponent


@pytest.mark.parametrize(
  ("factors", "end"), [((1.5, 2, 3, 5), "smallest"), ((0.2, 0.3, 0.5, 0.7), "largest")]
)
def test_both_edges_are_named(tmp_path, factors, end):
  found = isoflop.fit(runs_of(tmp_path, ladder(DRIVING, BUDGETS[:2], factors, 0.0)), 0, 0)
  assert [profile.edge for profile in found.profiles] == [f"the best size is the {end}"] * 2
  assert found.params is None and found.loss is None


def test_budgets_are_clustered_within_ten_percent():
  flops = np.array([4.2e11, 1e11, 1.05e11, 4e11, 1.09e11, 1.6e12])
  assert isoflop.budgets(flops).tolist() == [1, 0, 0, 1, 0, 2]


def test_every_seed_enters_the_fit(tmp_path):
  """Three seeds whose ln losses average to one value fit like three runs of that value."""
  rows = ladder(DRIVING, BUDGETS[:2], (0.4, 0.7, 1, 1.6, 2.5), 0.0)
  seeds = [
    r | {"run_id": f"{r['run_id']}-{s}", "loss": r["loss"] * np.exp(s * 0.01)}
    for r in rows
    for s in (-1, 0, 1)
  ]
  single = isoflop.fit(runs_of(tmp_path, rows), 0, 0)
  triple = isoflop.fit(runs_of(tmp_path, seeds), 0, 0)
  assert len(triple.profiles[0].runs) == 15
  assert triple.params(1e13) == pytest.approx(single.params(1e13), rel=1e-6)


def test_interval_covers_the_truth_as_often_as_it_says(tmp_path):
  """Symmetric surface, so no bias: of 60 ladders about 57 cover; 51 is three standard errors away."""
  surface = Surface(0.8, 20.0, 20.0, 0.3, 0.3)
  covered = 0
  for seed in range(60):
    rows = ladder(surface, BUDGETS[:3], (0.4, 0.65, 1, 1.55, 2.5), 0.004, seed=seed)
    low, high = bootstrap.interval(isoflop.fit(runs_of(tmp_path, rows), 400, seed).params.draws[0])
    covered += low <= 0.5 <= high
  assert covered >= 51


@pytest.mark.parametrize("sd", [None, np.array([0.1, 0.2, 0.4, 0.3])])
def test_draws_of_a_line_are_lines_through_their_own_minima(sd):
  flops, rng = np.geomspace(1e18, 1e21, 4), np.random.default_rng(0)
  draws = 0.5 * np.log(flops)[:, None] + rng.standard_normal((4, 5))
  draws[1, 3], draws[:3, 4] = np.nan, np.nan  # one minimum is gone, then all but one
  law = isoflop.power_law(flops, flops**0.5, draws, sd)
  for k in range(4):
    seen = np.isfinite(draws[:, k])
    weights = None if sd is None else 1 / sd[seen]
    expected = np.polyfit(np.log(flops)[seen], draws[seen, k], 1, w=weights)
    assert law.draws[:, k] == pytest.approx(expected, rel=1e-8)
  assert np.isnan(law.draws[:, 4]).all()
