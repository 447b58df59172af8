"""What a report says: the verdict first, every term explained, the numbers of fit.json."""

import dataclasses
import re

import pytest

from scaling import analysis, fit_report, fit_tables, glossary
from scaling.figures import gallery
from scaling.fitting import prediction
from scaling.report import Table
from tests.scaling.reported import predicted, written
from tests.scaling.test_report import CHROMIUM, check_in_browser


@pytest.fixture(scope="module")
def page() -> str:
  return (written() / "report.html").read_text()


def judged(interval) -> analysis.Analysis:
  made = predicted().forecast | {"ci95": interval}
  outcome = prediction.judge(made, predicted().held_out.rows)
  return dataclasses.replace(predicted(), forecast=made, outcome=outcome)


def test_headline_says_whether_the_outcome_lies_in_the_interval():
  loss = predicted().outcome["loss"]
  inside, outside = (fit_report.summary(judged([loss * low, loss * 1.02])) for low in (0.98, 1.01))
  assert "inside the interval" in inside and "outside the interval" in outside
  assert f"95% interval {0.98 * loss:.4f} to {1.02 * loss:.4f}" in inside
  assert f"Measured: {loss:.4f}" in inside and "4 of 4 budgets have an interior minimum" in inside
  without = fit_report.summary(judged(None))
  assert "interval" not in without and "an error of" in without


def test_a_fit_that_fails_on_its_way_leaves_the_earlier_one(tmp_path, monkeypatch):
  for name in ("fit.json", "draws.csv"):
    (tmp_path / name).write_text("earlier")
  monkeypatch.setattr(gallery, "save", lambda *_: None)
  monkeypatch.setattr(
    fit_report, "write_report", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full"))
  )
  with pytest.raises(OSError, match="disk full"):
    fit_report.write(predicted(), tmp_path)
  assert [(tmp_path / name).read_text() for name in ("fit.json", "draws.csv")] == ["earlier"] * 2


def test_headline_without_an_outcome_or_a_prediction():
  waiting = dataclasses.replace(predicted(), outcome=None)
  assert "Not measured yet." in fit_report.summary(waiting)
  plain = fit_report.summary(dataclasses.replace(waiting, forecast=None))
  assert plain.startswith("The best size grows as compute to the power 0.") and "Predicted" not in plain


def test_the_verdict_stands_in_the_section_too(page):
  assert re.search(r"The outcome lies (inside|outside) the 95% interval of the prediction", page)
  assert "before the run started" in page


def test_everything_that_is_asked_of_a_fit_is_in_its_report(page):
  titles = re.findall(r"<h2>(.*?)</h2>", page)
  assert titles == [
    "A larger run, predicted", "What the law says", "IsoFLOP profiles", "Compute-optimal size and data",
    "The parametric law", "How well the runs settle it", "Each budget left out", "Windows of budgets",
    "Training-curve envelope", "The run table", "Words",
  ]  # fmt: skip
  assert page.count("data:image/svg+xml;base64,") == len(gallery.PICTURES)
  assert f"run table {predicted().fitted.table_sha256}" in page


def test_numbers_are_those_of_fit_json(page):
  fit = analysis.as_json(predicted())
  for name in ("E", "alpha", "beta"):
    assert f">{fit['approach3'][name]:.4g}<" in page, name
  for left in fit["left_out"]:
    assert f">{left['errors']['parametric']:.4g}<" in page
  assert f">{fit['approach1']['a']:.4g}<" in page


def test_profile_interval_of_b_mirrors_that_of_a():
  fit = analysis.as_json(predicted())
  (table,) = fit_tables.coefficients(fit)
  shown = {row[0]: row[-1] for row in table.rows}
  low, high = fit["approach3"]["profile95"]["a"]
  assert shown["a"] == f"{low:.4g} to {high:.4g}" and shown["b"] == f"{1 - high:.4g} to {1 - low:.4g}"


def test_open_profile_ends_are_said():
  fit = analysis.as_json(predicted())
  fit["approach3"]["profile95"]["E"] = [None, 0.9]
  (table,) = fit_tables.coefficients(fit)
  assert next(row[-1] for row in table.rows if row[0] == "E") == "open to 0.9"


def test_terms_are_explained_and_the_token_is_defined_once():
  section = glossary.section(predicted())
  (table,) = (item for item in section.items if isinstance(item, Table))
  words = " ".join(str(row[0]) for row in table.rows)
  for term in (
    "IsoFLOP",
    "N*",
    "D*",
    "interior minimum",
    "roll-out error",
    "drop",
    "a, b",
    "condition",
    "drift",
  ):
    assert term in words
  assert section.paragraphs == (glossary.ONE_TOKEN["motion"],)
  other = [row | {"family": "text"} for row in predicted().fitted.rows]
  elsewhere = dataclasses.replace(
    predicted(), fitted=dataclasses.replace(predicted().fitted, rows=tuple(other))
  )
  assert glossary.section(elsewhere).paragraphs == ()


def test_losses_carry_their_unit(page):
  assert "nats per move" not in page and page.count("nats per token") > 5


def test_a_table_of_many_budgets_lists_those_with_a_minimum():
  fit = analysis.as_json(predicted())
  bare = {"flops": 1e9, "runs": 1, "interior": False, "edge": "1 sizes make no parabola"}
  bare |= dict.fromkeys(("params", "tokens", "loss"))
  fit["approach2"]["budgets"] += [bare] * 20
  table = fit_tables.budgets(fit)
  assert len(table.rows) == 4 and "20 budgets without any minimum" in table.caption


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_browser_shows_the_whole_report(page, tmp_path):
  check_in_browser(page, tmp_path, len(gallery.PICTURES))
