"""Leave-one-budget-out, windows and cuts: exact on a law that holds everywhere, and telling where one does not."""

import numpy as np
import pytest

from scaling import table
from scaling.fitting import isoflop, parametric, stability
from tests.scaling.surface import DRIVING, write
from tests.scaling.surface import isoflop as ladder

BUDGETS = 1e11 * 4.0 ** np.arange(4)
FACTORS = (0.2, 0.45, 1, 2.2, 5)
TRUTH = {"approach3_a": DRIVING.beta / (DRIVING.alpha + DRIVING.beta)}
TRUTH |= {name: getattr(DRIVING, name) for name in ("E", "alpha", "beta")}


def fitted(tmp_path, rows):
  runs = table.read_runs(write(tmp_path / "runs.csv", rows))
  return runs, isoflop.fit(runs, 0, 0), "huber"


def test_a_law_that_holds_everywhere_does_not_drift(tmp_path):
  made = fitted(tmp_path, ladder(DRIVING, BUDGETS, FACTORS, 0.0))
  left = stability.leave_one_out(*made)
  assert [one.runs for one in left] == [5] * 4
  # The minimum of a parabola through an asymmetric profile is not the surface's: 0.1%, not more.
  assert max(abs(one.errors["parametric"]) for one in left) < 0.2
  assert all(set(one.errors) == {"parametric", "power", "floored"} for one in left)
  windows = stability.drift(*made)
  assert [window.runs for window in windows] == [15, 20, 15]
  for window in windows:
    assert {name: window.values[name] for name in TRUTH} == pytest.approx(TRUTH, rel=1e-5)
    assert window.values["approach2_a"] == pytest.approx(TRUTH["approach3_a"], abs=0.02)
  assert windows[2].flops == pytest.approx((BUDGETS[1], BUDGETS[3]), rel=0.01)


def test_the_budget_that_went_wrong_is_the_one_that_is_missed(tmp_path):
  rows = ladder(DRIVING, BUDGETS, FACTORS, 0.0)
  for row in rows[10:15]:
    row["loss"] *= 1.05
  errors = [one.errors["parametric"] for one in stability.leave_one_out(*fitted(tmp_path, rows))]
  assert errors[2] == pytest.approx(-100 * (1 - 1 / 1.05), abs=0.1)
  assert max(map(abs, errors[:2])) < 0.2 < abs(errors[3])  # three that are right outvote it, two do not


def test_a_law_that_bends_drifts(tmp_path):
  """Losses fall more and more below the surface: what one window finds, the next does not."""
  rows = ladder(DRIVING, BUDGETS, FACTORS, 0.0)
  for k, row in enumerate(rows):
    row["loss"] -= 0.01 * (k // 5) ** 2
  first, _, last = (window.values for window in stability.drift(*fitted(tmp_path, rows)))
  assert abs(first["beta"] / last["beta"] - 1) > 0.1 and abs(first["E"] - last["E"]) > 0.05


def test_a_window_is_what_a_fit_to_it_alone_finds(tmp_path):
  runs, iso, kind = fitted(tmp_path, ladder(DRIVING, BUDGETS, FACTORS, 0.003, seed=1))
  windows = stability.drift(runs, iso, kind)
  for window, kept in zip((windows[0], windows[2]), (slice(0, 15), slice(5, 20)), strict=True):
    alone = parametric.fit(runs.params[kept], runs.tokens[kept], runs.loss[kept], "huber").law
    found = [window.values[name] for name in TRUTH]
    assert found == pytest.approx([alone.a, alone.E, alone.alpha, alone.beta], rel=1e-3)


def test_a_budget_without_a_minimum_is_asked_at_its_runs(tmp_path):
  rows = ladder(DRIVING, BUDGETS[:3], FACTORS, 0.0) + [
    row | {"run_id": f"edge{i}"} for i, row in enumerate(ladder(DRIVING, BUDGETS[3:], (0.05, 0.1, 0.2), 0.0))
  ]
  left = stability.leave_one_out(*fitted(tmp_path, rows))
  assert set(left[3].errors) == {"parametric"} and abs(left[3].errors["parametric"]) < 1e-3


def test_a_table_of_many_budgets_is_cut_into_pieces():
  flops = np.random.default_rng(0).permutation(np.geomspace(1e10, 1e15, 60))
  index = stability.pieces(flops)
  assert np.bincount(index).tolist() == [5] * 12
  assert (np.diff(index[np.argsort(flops)]) >= 0).all()
  few = np.repeat(BUDGETS, 5)
  assert (stability.pieces(few) == isoflop.budgets(few)).all()


def test_two_budgets_make_no_window_and_settle_nothing_without_each_other(tmp_path):
  made = fitted(tmp_path, ladder(DRIVING, BUDGETS[:2], FACTORS, 0.0))
  assert stability.drift(*made) == ()
  assert [one.errors for one in stability.leave_one_out(*made)] == [{}, {}]
  alone = fitted(tmp_path, ladder(DRIVING, BUDGETS[:1], FACTORS, 0.0))
  assert [one.errors for one in stability.leave_one_out(*alone)] == [{}]


def test_cuts_show_what_outliers_do(tmp_path):
  rows = ladder(DRIVING, BUDGETS, FACTORS, 0.0)
  for k in (3, 12):
    rows[k]["loss"] = 4.0 + k
  runs = table.read_runs(write(tmp_path / "runs.csv", rows))
  with_them, without, further = stability.cuts(runs, 2, "mse")
  assert [c.dropped for c in (with_them, without, further)] == [0, 2, 4]
  assert without.values["E"] == pytest.approx(DRIVING.E, rel=1e-5) and without.runs == 18
  assert further.values["E"] == pytest.approx(DRIVING.E, rel=1e-5)
  assert abs(with_them.values["E"] / DRIVING.E - 1) > 0.05
