"""scaling.fit as a person uses it: predict, run, judge; and what a bad call leaves behind."""

import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from scaling import analysis, cautions, curves
from scaling.table import Reading
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
  assert outcome["written_before"] and outcome["run_ids"] == ["larger"] and outcome["loss_sd"] is None


def test_a_prediction_is_shown_only_beside_the_rows_it_was_made_from(story):
  """The predicted run among the fitted ones: its prediction would look like this law's own."""
  work, ladder, law = story[0], story[0] / "runs.csv", story[0] / "law"
  before = (law / "fit.json").read_bytes()
  done = fit(f"--runs={ladder},{work / 'larger.csv'}", f"--out={law}", "--bootstrap=0")
  assert (
    done.returncode == 2 and "made from other rows" in done.stderr and "--holdout_budgets=1" in done.stderr
  )
  assert (law / "fit.json").read_bytes() == before


def test_a_reviewer_compares_in_a_fresh_directory_and_seeds_are_judged_together(story, tmp_path):
  work, prediction, _, row = story
  seeds = [row | {"run_id": f"s{i}", "seed": i, "loss": row["loss"] * (1 + 0.01 * i)} for i in (-1, 0, 1)]
  seeds[2]["started"] = "2000-01-01T00:00:00Z"
  several = write(tmp_path / "seeds.csv", seeds)
  tables = f"--runs={work / 'runs.csv'},{several}"
  flags = ("--holdout_budgets=1", "--bootstrap=0", "--optimum_flops=1e13", f"--out={tmp_path / 'again'}")
  (tmp_path / "again").mkdir()
  (tmp_path / "again" / "draws.csv").write_text("of another fit")
  done = fit(tables, *flags, f"--prediction={work / 'law' / 'prediction.json'}")
  assert done.returncode == 0 and "mean of 3 runs" in done.stdout, done.stderr
  fitted = json.loads((tmp_path / "again" / "fit.json").read_text())
  assert fitted["optimum"][-1]["flops"] == 1e13 and fitted["draws"] is None
  assert not (tmp_path / "again" / "draws.csv").exists()
  outcome = fitted["outcome"]
  assert outcome["run_ids"] == ["s-1", "s0", "s1"]
  assert outcome["loss"] == pytest.approx(row["loss"])
  assert outcome["loss_sd"] == pytest.approx(0.01 * row["loss"])
  assert outcome["loss_error_percent"] == pytest.approx(100 * (prediction["loss"] / row["loss"] - 1))
  assert outcome["written_before"] is False  # one of them started earlier


def test_a_run_far_off_the_optimum_is_predicted_with_a_warning(story, tmp_path):
  """Sizes of the table are up to 5 times off; a prediction 4 times off is of their kind, one 12 times is not."""
  found = analysis.analyse([story[0] / "runs.csv"], "huber", 0, 0, 0)
  for times, warned in ((4.0, False), (12.0, True)):
    params = float(found.iso.params(6.4e12)) / times
    made = analysis.predict(found, tmp_path / f"{times}.json", 6.4e12, params, 6.4e12 / 6 / params)
    assert any("times off N*(C)" in text for text in cautions.of(made)) is warned


def test_what_the_results_promise_a_reviewer():
  """The second command of results/README.md, without its intervals."""
  ladder = "results/ladder"
  tables = f"--runs={ladder}/runs.csv,{ladder}/larger.csv"
  assert (
    f"{tables} --holdout_budgets=1 --bootstrap_by=noise --prediction={ladder}/prediction.json"
    in " ".join((REPOSITORY / "results" / "README.md").read_text().replace("\\\n", "").split())
  )
  given = [REPOSITORY / ladder / name for name in ("runs.csv", "larger.csv")]
  found = analysis.analyse(given, "huber", 0, 0, 1, analysis.Options(curves=tuple(curves.beside(given))))
  again = analysis.as_json(analysis.compare(found, REPOSITORY / ladder / "prediction.json"))
  kept = json.loads((REPOSITORY / ladder / "fit.json").read_text())
  assert again["outcome"]["loss"] == kept["outcome"]["loss"]
  assert again["approach3"]["alpha"] == pytest.approx(kept["approach3"]["alpha"], rel=1e-5)


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
  assert (law / "figures.pdf").read_bytes().startswith(b"%PDF")
  for name in ("isoflop", "optima", "residuals"):
    assert "<svg" in (law / f"{name}.svg").read_text()[:1000]
  assert (law / "isoflop.png").stat().st_size > 10_000
  page = (law / "report.html").read_text()
  assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
  assert f"run table {story[2]['table_sha256'][:16]}" in page


def test_draws_lie_beside_the_fit_that_names_them(story):
  law, fitted = story[0] / "law", story[2]
  text = (law / "draws.csv").read_bytes()
  assert hashlib.sha256(text).hexdigest() == fitted["draws"]["sha256"] and text.count(b"\n") == 201


def test_the_digitised_points_of_hoffmann_as_published(tmp_path, shared_data):
  """Besiroglu et al. (arXiv:2404.10102): 240 of 245 points; the optimum of the Huber objective; standard errors."""
  reading = Reading({"params": "Model Size", "flops": "Training FLOP"}, "total")
  options = analysis.Options(reading, drop=5, optima=(5.76e23,))
  path = shared_data("scaling") / "chinchilla_epoch.csv"
  fitted = analysis.as_json(analysis.analyse([path], "huber", 1000, 42, 0, options))
  cut = {cut["dropped"]: cut["values"] for cut in fitted["sensitivity"]}
  assert list(cut) == [0, 5, 10] and cut[5]["E"] == pytest.approx(1.8172181, rel=1e-5)
  assert fitted["rules"][0] == "tokens = flops / (6 params)"
  law = fitted["approach3"]
  assert fitted["n_runs"] == 240 and law["objective"] <= 1.018274018e-3 * (1 + 1e-7)
  found = [law[name] for name in ("A", "B", "E", "alpha", "beta")]
  assert found == pytest.approx([477.82590, 2143.4173, 1.8172181, 0.34731050, 0.36717243], rel=1e-5)
  errors = [law["standard_error"][name] for name in ("A", "B", "E", "alpha", "beta")]
  assert errors == pytest.approx([124.522, 1293.284, 0.02566, 0.01540, 0.02060], rel=0.05)
  optimum = fitted["optimum"][-1]["approach3"]
  assert (optimum["params"], optimum["tokens"]) == pytest.approx((7.3190e10, 1.3117e12), rel=2e-4)
  assert fitted["params_convention"] == "total" and "5 of 245" in fitted["rules"][1]


def test_a_table_of_other_people_is_fitted_by_naming_its_columns(tmp_path):
  rows = isoflop(DRIVING, BUDGETS, (0.2, 0.45, 1, 2.2, 5), 0.0)
  rows[4]["loss"] = 7.0
  theirs = [{"Model Size": r["params"], "Training FLOP": r["flops"], "nats": r["loss"]} for r in rows]
  path = write(tmp_path / "theirs.csv", theirs)
  flags = (f"--runs={path}", "--columns=params:Model Size,flops:Training FLOP,loss:nats", "--bootstrap=0")
  done = fit(*flags, f"--out={tmp_path / 'law'}")
  assert done.returncode == 2 and "--params_convention=" in done.stderr and not (tmp_path / "law").exists()
  flags = (*flags, "--params_convention=total", "--drop_largest_losses=1", "--minimum=akima")
  done = fit(*flags, f"--out={tmp_path / 'law'}")
  assert done.returncode == 0, done.stderr
  assert (
    "without the 1 largest losses: E 0.8," in done.stdout and "tokens = flops / (6 params)" in done.stdout
  )
  fitted = json.loads((tmp_path / "law" / "fit.json").read_text())
  assert fitted["params_convention"] == "total" and fitted["approach2"]["minimum"] == "akima"


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
    (["--runs="], "--runs: is empty; give run tables"),
    (["--predict_params=1e4"], "--predict_flops"),
    (["--predict_flops=1e13", "--predict_tokens=1e8"], "both or neither"),
    (["--predict_flops=-1"], "positive"),
    (["--predict_flops=1.7e12"], "not beyond the table"),
    (["--predict_flops=6.4e12", "--predict_params=3e4", "--predict_tokens=3e7"], "C / (N D) is 7.111, but 6"),
    (["--predict_flops=6.4e12", "--predict_params=40", "--predict_tokens=2.6e4"], "C / (N D)"),
    (["--prediction=results/us101/forecast_seed0.json"], "has no 'params'"),
    (["--prediction=x", "--predict_flops=6.4e12"], "compare in a later call"),
    (["--out=README.md"], "README.md: is a file; give a directory as --out"),
    (["--holdout_budgets=3"], "hold out fewer"),
    (["--columns=parms:N"], "'parms' is no column of a run table; did you mean params?"),
    (["--columns=params"], "give params:NAME"),
    (["--optimum_flops=-1"], "--optimum_flops: '-1' is no positive number"),
    (["--curves=README.md"], "column 'run_id' is missing"),
    (["--los=mse"], "did you mean --loss?"),
  ],
)
def test_bad_calls_say_what_to_do_and_leave_nothing(story, tmp_path, flags, words):
  done = fit(f"--runs={story[0] / 'runs.csv'}", f"--out={tmp_path / 'law'}", "--bootstrap=0", *flags)
  assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
  assert not (tmp_path / "law").exists()
