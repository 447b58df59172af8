"""Figures of awkward tables: nothing interior, one budget, many seeds; and that they repeat to the byte."""

import numpy as np
import pytest

from scaling import analysis, figures, fit_report
from tests.scaling.surface import DRIVING, isoflop, write

BUDGETS = 1e11 * 4.0 ** np.arange(3)


def analysed(tmp_path, rows, holdout=0):
  return analysis.analyse([write(tmp_path / "runs.csv", rows)], "huber", 0, 0, holdout)


def test_same_table_same_bytes(tmp_path):
  """Several seeds at a size, and a held-out budget that nobody predicted."""
  rows = isoflop(DRIVING, BUDGETS, (0.3, 0.6, 1, 1.7, 3), 0.004, seeds=3)
  made = []
  for name in ("a", "b"):
    found = analysed(tmp_path, rows, holdout=1)
    assert len(found.fitted) == 30 and len(found.held_out) == 15
    assert found.held_out.flops.min() > found.fitted.flops.max()
    figure = figures.isoflop(found.iso, lambda c: 1.2 * (c / 1e11) ** -0.05, found.held_out, None)
    figures.save(figure, tmp_path / name, fit_report.provenance(found))
    files = [(tmp_path / name).with_suffix(suffix).read_bytes() for suffix in (".pdf", ".png")]
    made.append([analysis.as_json(found), *files])
  assert made[0] == made[1]


@pytest.mark.parametrize(
  ("budgets", "factors", "said"),
  [
    (BUDGETS, (1.5, 2, 3, 5), "none"),
    (BUDGETS[:1], (0.2, 0.4, 0.7, 1, 1.6, 3, 5), "one"),
  ],
)
def test_awkward_tables_are_drawn_and_warned_of(tmp_path, budgets, factors, said):
  found = analysed(tmp_path, isoflop(DRIVING, budgets, factors, 0.001))
  if said == "none":
    assert found.iso.params is None and "has no interior minimum" in " ".join(analysis.warnings(found))
  assert any("a line through them" in text for text in analysis.warnings(found))
  fit_report.write(found, tmp_path / "law")
  assert (tmp_path / "law" / "report.html").exists() and (tmp_path / "law" / "optima.pdf").exists()


@pytest.mark.parametrize(
  ("value", "text"),
  [(4.03e11, r"4.0\times10^{11}"), (9.99e11, r"1.0\times10^{12}"), (1e9, r"1.0\times10^{9}")],
)
def test_power_of_ten(value, text):
  assert figures.power_of_ten(value) == f"${text}$"
