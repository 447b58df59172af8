"""What a fit says when a table settles everything, something, or nothing; and what it leaves for machines."""

import csv
import dataclasses
import hashlib
import io
import json

import numpy as np
import pytest

from data.files import canonical_json
from scaling import analysis, cautions
from scaling.fitting import bootstrap, prediction
from scaling.fitting.refusals import OneRay, Refusal
from scaling.table import Reading
from tests.scaling.surface import DRIVING, isoflop, write

BUDGETS = 1e11 * 4.0 ** np.arange(3)
FACTORS = (0.2, 0.45, 1, 2.2, 5)
TRUTH = DRIVING.beta / (DRIVING.alpha + DRIVING.beta)


PLAIN = analysis.Options()


def analyse(path, draws=0, options=PLAIN, kind="huber", seed=0):
  return analysis.analyse([path], kind, draws, seed, 0, options)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
  return write(tmp_path_factory.mktemp("noisy") / "runs.csv", isoflop(DRIVING, BUDGETS, FACTORS, 0.003))


def test_the_same_table_and_seed_give_the_same_bytes(noisy):
  one, two = (analyse(noisy, 50) for _ in range(2))
  assert canonical_json(analysis.as_json(one)) == canonical_json(analysis.as_json(two))
  assert analysis.draws_csv(one) == analysis.draws_csv(two)
  other = analyse(noisy, 50, seed=1)
  assert analysis.draws_csv(one) != analysis.draws_csv(other)


def test_draws_are_joint_and_their_digest_is_in_the_fit(noisy):
  found = analyse(noisy, 50)
  text = analysis.draws_csv(found)
  fitted = analysis.as_json(found)
  assert fitted["draws"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
  rows = list(csv.DictReader(io.StringIO(text)))
  column = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
  assert len(rows) == fitted["bootstrap_draws"] == 50
  way = bootstrap.Resampling(**fitted["draws"]["parametric"])
  assert way == bootstrap.Resampling(len(found.fitted), 5, "case")
  for name in ("E", "A", "B", "alpha", "beta"):
    assert way.interval(column[name], fitted["approach3"][name]) == fitted["approach3"]["ci95"][name]
    assert fitted["approach3"]["standard_error"][name] == pytest.approx(
      np.std(column[name], ddof=1), rel=1e-9
    )
  a = column["beta"] / (column["alpha"] + column["beta"])
  assert way.interval(a, fitted["approach3"]["a"]) == pytest.approx(
    fitted["approach3"]["ci95"]["a"], rel=1e-12
  )
  assert bootstrap.interval(column["approach2_a"]) == fitted["approach2"]["ci95"]["a"]
  at = np.exp(column["approach2_a_intercept"] + column["approach2_a"] * np.log(1e13))
  again = analysis.as_json(analyse(noisy, 50, analysis.Options(optima=(1e13,))))
  wanted = next(o for o in again["optimum"] if o["flops"] == 1e13)
  assert bootstrap.interval(at) == pytest.approx(wanted["approach2"]["ci95"]["params"], rel=1e-9)
  assert analysis.draws_csv(analyse(noisy)) is None and analysis.as_json(analyse(noisy))["draws"] is None


@pytest.mark.parametrize("by", bootstrap.KINDS)
@pytest.mark.parametrize("kind", ["huber", "lad", "mse"])
def test_every_loss_and_bootstrap_brackets_its_estimate(noisy, by, kind):
  fitted = analysis.as_json(analyse(noisy, 60, analysis.Options(bootstrap_by=by), kind))
  assert fitted["loss"] == kind and fitted["draws"]["resampled"]["approach3"] == by
  low, high = fitted["approach3"]["ci95"]["a"]
  assert low <= fitted["approach3"]["a"] <= high and high - low < 0.3


def test_checkpoints_are_drawn_with_their_run(tmp_path):
  rows = isoflop(DRIVING, BUDGETS, FACTORS, 0.003)
  half = [row | {"tokens": row["tokens"] / 2, "flops": row["flops"] / 2} for row in rows]
  for row in half:
    row["loss"] = DRIVING.loss(row["params"], row["tokens"]) * 1.001
  path = write(tmp_path / "runs.csv", rows + half)
  options = analysis.Options(Reading(checkpoints=True), bootstrap_by="run")
  found = analyse(path, 5, options)
  weights = bootstrap.cluster_weights([row["run_id"] for row in found.fitted.rows], 5, 0)
  assert (weights[:, :15] == weights[:, 15:]).all()
  direct = analysis.parametric.resample(
    found.law, found.fitted.params, found.fitted.tokens, found.fitted.loss, weights, None
  )
  assert found.law.draws.alpha == pytest.approx(direct.alpha)
  assert any("15 rows are checkpoints" in text for text in cautions.of(found))


def test_the_way_of_finding_minima_is_named_and_used(noisy):
  parabola, akima = (analyse(noisy, 0, analysis.Options(minimum=name)) for name in ("parabola", "akima"))
  found = [analysis.as_json(one)["approach2"] for one in (parabola, akima)]
  assert [one["minimum"] for one in found] == ["parabola", "akima"] and "Akima" in found[1]["method"]
  assert found[0]["a"] != found[1]["a"]


def test_an_edge_does_not_kill_the_fit(tmp_path):
  rows = isoflop(DRIVING, BUDGETS[:2], FACTORS, 0.0) + [
    row | {"run_id": f"edge{i}"} for i, row in enumerate(isoflop(DRIVING, BUDGETS[2:], (0.05, 0.1, 0.2), 0.0))
  ]
  fitted = analysis.as_json(analyse(write(tmp_path / "runs.csv", rows)))
  assert [b["interior"] for b in fitted["approach2"]["budgets"]] == [True, True, False]
  (refusal,) = fitted["approach2"]["refusals"]
  assert refusal["refusal"] == "EdgeMinimum" and refusal["remedy"] == "add larger sizes"
  assert any("no interior minimum: the best size is the largest" in text for text in fitted["warnings"])
  assert fitted["approach3"]["alpha"] == pytest.approx(DRIVING.alpha, rel=1e-5)
  assert fitted["approach2"]["a"] == pytest.approx(TRUTH, abs=0.02)


def test_one_ray_kills_approach_3_and_leaves_approach_2(tmp_path):
  """Sizes within 3% of the optimum: minima are there, but tokens per parameter hardly vary."""
  rows = isoflop(DRIVING, BUDGETS * 1e4, (0.97, 0.985, 1, 1.015, 1.03), 0.0)
  fitted = analysis.as_json(analyse(write(tmp_path / "runs.csv", rows), 20))
  law = fitted["approach3"]
  assert [r["refusal"] for r in law["refusals"]][:1] == ["OneRay"] and law["profile95"] == {}
  assert all(
    law[name] is None and law["ci95"][name] is None for name in ("E", "A", "B", "alpha", "beta", "a")
  )
  assert any("tokens per parameter" in text for text in fitted["warnings"])
  assert fitted["approach2"]["a"] == pytest.approx(TRUTH, abs=0.005)
  assert fitted["optimum"][0]["approach2"]["params"] > 0 and fitted["optimum"][0]["approach3"] is None


def test_when_nothing_stands_the_first_reason_is_raised(tmp_path):
  rows = isoflop(DRIVING, 1e11 * 2.0 ** np.arange(8), (1,), 0.0)
  with pytest.raises(OneRay, match=r"tokens per parameter.*add runs that vary tokens at equal parameters"):
    analyse(write(tmp_path / "ray.csv", rows))
  single = isoflop(DRIVING, BUDGETS[:1], (0.2, 0.3, 0.45, 1, 1.5, 2.2, 5), 0.0)
  with pytest.raises(Refusal, match="vary together"):
    analyse(write(tmp_path / "single.csv", single))


def test_training_curves_make_approach_1(tmp_path):
  """Many sizes and horizons on the surface itself: N*(C) ~ C^a, and the interval comes from runs."""
  sizes, rows, lines = np.geomspace(1e3, 1e6, 13), [], ["run_id,tokens,flops,loss"]
  for i, params in enumerate(sizes):
    for j, horizon in enumerate((1e7, 4e7, 1.6e8)):
      row = {"run_id": f"{i}_{j}", "params": params, "tokens": horizon, "flops": 6 * params * horizon}
      rows.append(row | {"loss": DRIVING.loss(params, horizon), "seed": 0})
      tokens = np.geomspace(horizon / 300, horizon, 60)
      lines += [f"{i}_{j},{t!r},1,{float(DRIVING.loss(params, t))!r}" for t in tokens.tolist()]
  runs = write(tmp_path / "runs.csv", rows)
  path = tmp_path / "curves.csv"
  path.write_text("\n".join(lines))
  found = analyse(runs, 20, analysis.Options(curves=(path,)))
  made = analysis.as_json(found)["approach1"]
  assert made["a"] == pytest.approx(TRUTH, abs=0.03) and made["a"] + made["b"] == pytest.approx(1, abs=1e-6)
  low, high = made["ci95"]["a"]
  assert low <= made["a"] + 0.01 and made["a"] - 0.01 <= high
  assert made["curves"] == 39 and made["curves_loss"] == "training"
  assert made["curves_sha256"] == [hashlib.sha256(path.read_bytes()).hexdigest()]
  assert "approach1_a" in analysis.draws_csv(found)
  assert analysis.as_json(analyse(runs))["approach1"] is None
  path.write_text("\n".join(line for line in lines if not line.startswith("3_")))
  fewer = analyse(runs, 0, analysis.Options(curves=(path,)))
  assert any("36 of 39 runs have one" in text for text in cautions.of(fewer))


def test_what_prescribing_needs_is_in_the_fit(noisy):
  fitted = analysis.as_json(analyse(noisy, 20))
  rows = isoflop(DRIVING, BUDGETS, FACTORS, 0.003)
  for name in ("params", "tokens", "flops"):
    values = [row[name] for row in rows]
    assert fitted["ranges"][name] == [min(values), max(values)]
  assert (
    fitted["flops_over_6nd"]["median"] == pytest.approx(1) and fitted["params_convention"] == "non_embedding"
  )
  assert fitted["coverage"]["sizes"] == 15 and fitted["coverage"]["ratio_decades"] > 2
  assert fitted["approach3"]["condition"] > 1 and fitted["approach3"]["agreeing_starts"] > 0.5
  assert set(fitted["approach3"]["profile95"]) == {"E", "A", "B", "alpha", "beta", "a"}
  assert len(fitted["left_out"]) == 3 and len(fitted["drift"]) == 1
  assert json.loads(json.dumps(fitted, allow_nan=False)) == json.loads(json.dumps(fitted))


def test_losses_that_are_dropped_are_told_with_what_they_change(tmp_path):
  rows = isoflop(DRIVING, BUDGETS, FACTORS, 0.0)
  rows[7]["loss"] = 9.0
  path = write(tmp_path / "runs.csv", rows)
  fitted = analysis.as_json(analyse(path, 0, analysis.Options(drop=1)))
  assert fitted["n_runs"] == 14 and "1 of 15" in fitted["rules"][0]
  assert [cut["dropped"] for cut in fitted["sensitivity"]] == [0, 1, 2]
  assert fitted["approach3"]["E"] == pytest.approx(DRIVING.E, rel=1e-5)
  assert analysis.as_json(analyse(path))["sensitivity"] == []


def test_an_outcome_is_judged_inside_its_interval(noisy, tmp_path):
  found = analysis.predict(analyse(noisy, 50), tmp_path / "prediction.json", 6.4e12, None, None)
  row = {"run_id": "larger", "loss": found.forecast["loss"], "started": "2999-01-01T00:00:00Z"}
  inside, outside = (prediction.judge(found.forecast, [row | {"loss": row["loss"] * by}]) for by in (1, 2))
  assert inside["inside_ci95"] is True and outside["inside_ci95"] is False
  judged = dataclasses.replace(found, outcome=inside)
  assert analysis.as_json(judged)["outcome"]["inside_ci95"] is True


def test_a_run_in_bits_is_named(tmp_path, noisy):
  rows = isoflop(DRIVING, BUDGETS, FACTORS, 0.003)
  rows[7]["loss"] /= np.log(2)
  said = cautions.of(analyse(write(tmp_path / "runs.csv", rows)))
  (text,) = [text for text in said if "nats" in text]
  assert text.startswith("The loss of run run7 is 1.4")
  assert not any("nats" in text for text in cautions.of(analyse(noisy)))


def test_intervals_that_tell_two_stories_are_both_named(noisy):
  """Draws of alpha moved by five widths of its profile."""
  found = analyse(noisy, 200, analysis.Options(bootstrap_by="noise"))
  assert "--bootstrap_by" not in " ".join(cautions.of(found))
  alpha = found.profiles["alpha"]
  moved = found.law.draws.alpha + 5 * (alpha.high - alpha.low)
  draws = dataclasses.replace(found.law.draws, alpha=moved)
  cases = dataclasses.replace(found, law=dataclasses.replace(found.law, draws=draws), options=PLAIN)
  (said,) = [text for text in cautions.of(cases) if "by profile differ" in text]
  assert f"[{alpha.low:.3g}, {alpha.high:.3g}]" in said and "alpha [" in said
  assert "Intervals by case bootstrap" in said and "--bootstrap_by=noise" in said


def test_repeated_data_are_told(tmp_path):
  """Run 3 reads half as many tokens twice, run 4 a twentieth too many."""
  rows = [row | {"unique_tokens": row["tokens"]} for row in isoflop(DRIVING, BUDGETS, FACTORS, 0.003)]
  assert not any("repeats" in text for text in cautions.of(analyse(write(tmp_path / "once.csv", rows))))
  rows[3]["unique_tokens"] /= 2
  rows[4]["unique_tokens"] /= 1.04
  said = cautions.of(analyse(write(tmp_path / "twice.csv", rows)))
  (text,) = [text for text in said if "repeats" in text]
  assert text.startswith(f"1 of {len(rows)} runs read their data more than once, up to 2 times")


@pytest.mark.parametrize("cell", ["", "n/a", "0", "inf"])
def test_unique_tokens_that_cannot_be_read_are_unknown(tmp_path, cell):
  rows = [row | {"unique_tokens": cell} for row in isoflop(DRIVING, BUDGETS, FACTORS, 0.003)]
  assert not any("repeats" in text for text in cautions.of(analyse(write(tmp_path / "runs.csv", rows))))
