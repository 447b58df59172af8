"""scaling.fit as a person uses it: predict, run, judge; and what a bad call leaves behind."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.scaling.surface import DRIVING, isoflop, write

BUDGETS = 1e11 * 4.0 ** np.arange(3)
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def fit(*flags: object) -> subprocess.CompletedProcess:
  command = [sys.executable, "-m", "scaling.fit", *map(str, flags)]
  return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
  """A ladder fitted and a larger run predicted; then the run made, held out, and compared."""
  work = tmp_path_factory.mktemp("fit")
  ladder = write(work / "runs.csv", isoflop(DRIVING, BUDGETS, (0.2, 0.45, 1, 2.2, 5), 0.002))
  flags = ("--bootstrap=200", f"--out={work / 'law'}")
  first = fit(f"--runs={ladder}", "--predict_flops=6.4e12", *flags)
  assert first.returncode == 0, first.stderr
  prediction = json.loads((work / "law" / "prediction.json").read_text())
  row = {"run_id": "larger", "started": "2999-01-01T00:00:00Z", "seed": 0, "flops": 6.4e12}
  row |= {"params": prediction["params"], "tokens": prediction["tokens"]}
  row["loss"] = DRIVING.loss(row["params"], row["tokens"])
  larger = write(work / "larger.csv", [row])
  second = fit(f"--runs={ladder},{larger}", "--holdout_budgets=1", *flags)
  assert second.returncode == 0, second.stderr
  return work, prediction, json.loads((work / "law" / "fit.json").read_text()), row


def test_prediction_is_good_and_stays_as_it_was_written(story):
  work, prediction, fitted, row = story
  assert prediction["loss"] == pytest.approx(row["loss"], rel=0.02)
  assert prediction["ci95"][0] < row["loss"] < prediction["ci95"][1]
  assert fitted["prediction"] == prediction == json.loads((work / "law" / "prediction.json").read_text())
  assert prediction["params"] * prediction["tokens"] * 6 == pytest.approx(6.4e12)


def test_outcome_is_judged(story):
  _, prediction, fitted, row = story
  outcome = fitted["outcome"]
  assert outcome["loss_error_percent"] == pytest.approx(100 * (prediction["loss"] / row["loss"] - 1))
  drop = prediction["best_loss_of_largest_budget"] - row["loss"]
  assert outcome["drop"] == pytest.approx(drop)
  assert outcome["drop_error_percent"] == pytest.approx(100 * (prediction["drop"] / drop - 1))
  assert outcome["same_table"] and outcome["written_before"] and outcome["run_id"] == "larger"


def test_fit_json_holds_what_others_read(story):
  fitted = story[2]
  assert {"approach1", "approach2", "approach3", "warnings", "loss", "n_runs", "table_sha256"} <= set(fitted)
  assert fitted["n_runs"] == 15 and fitted["loss"] == "huber"
  assert {"a", "b", "ci95"} <= set(fitted["approach2"])
  assert {"E", "A", "B", "alpha", "beta", "a", "b", "objective", "ci95"} <= set(fitted["approach3"])
  truth = DRIVING.beta / (DRIVING.alpha + DRIVING.beta)
  low, high = fitted["approach3"]["ci95"]["a"]
  assert low < truth < high
  assert [b["interior"] for b in fitted["approach2"]["budgets"]] == [True] * 3


def test_figures_and_report_are_there(story):
  law = story[0] / "law"
  for name in ("isoflop", "optima", "residuals"):
    assert (law / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (law / f"{name}.png").stat().st_size > 10_000
  page = (law / "report.html").read_text()
  assert page.count("data:image/png;base64,") == 3 and "A larger run, predicted" in page
  assert f"run table {story[2]['table_sha256'][:16]}" in page


def test_prediction_is_not_overwritten_from_another_table(story):
  work, prediction, _, _ = story
  rows = isoflop(DRIVING, BUDGETS, (0.2, 0.45, 1, 2.2, 5), 0.002, seed=1)
  other = write(work / "other.csv", rows)
  done = fit(f"--runs={other}", f"--out={work / 'law'}", "--bootstrap=0", "--predict_flops=6.4e12")
  assert done.returncode == 2 and "a prediction is not overwritten" in done.stderr
  assert json.loads((work / "law" / "prediction.json").read_text()) == prediction


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--predict_params=1e4"], "--predict_flops"),
    (["--predict_flops=1e13", "--predict_tokens=1e8"], "both or neither"),
    (["--predict_flops=-1"], "positive"),
    (["--holdout_budgets=3"], "hold out fewer"),
    (["--los=mse"], "did you mean --loss?"),
  ],
)
def test_bad_calls_say_what_to_do_and_leave_nothing(story, tmp_path, flags, words):
  done = fit(f"--runs={story[0] / 'runs.csv'}", f"--out={tmp_path / 'law'}", "--bootstrap=0", *flags)
  assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
  assert not (tmp_path / "law").exists()
