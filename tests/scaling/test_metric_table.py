"""Tables of scores: read, refused, fitted by slice and told."""

import csv

import numpy as np
import pytest

from data.errors import BadInput
from scaling import metric_scores, metric_table
from scaling.figures import metric_laws
from scaling.table import Runs

SIZES, SEEDS = 12, 3
FLOPS = np.repeat(np.geomspace(2.5e9, 2e12, SIZES), SEEDS)
STRATA = np.repeat(np.arange(SIZES), SEEDS)
RUNS = [f"r{k:02d}" for k in range(len(FLOPS))]
DECADES = np.log10(FLOPS / FLOPS[0])
COURSES = {  # slice to metric to the runs' values
  "open road": {"loss": 2.0 * 10 ** (-0.1 * DECADES), "score": 1 - 0.5 * 10 ** (-0.3 * DECADES)},
  "town": {"loss": 2.5 * 10 ** (-0.1 * DECADES), "score": np.minimum(0.2 + 0.3 * DECADES, 0.65)},
}


def rows():
  rng = np.random.default_rng(0)
  for slice_, metrics in COURSES.items():
    for metric, truth in metrics.items():
      for run, value in zip(RUNS, truth, strict=True):
        for cluster in ("w1", "w2", "w3") if metric == "score" else ("",):
          noisy = value + 0.002 * rng.standard_normal()
          yield {
            "run_id": run,
            "metric": metric,
            "slice": slice_,
            "cluster": cluster,
            "value": noisy,
            "count": 12,
          }


def written(path, table):
  with open(path, "w", newline="") as file:
    writer = csv.DictWriter(file, metric_scores.COLUMNS)
    writer.writeheader()
    writer.writerows(table)
  return path


@pytest.fixture(scope="module")
def found(tmp_path_factory):
  path = written(tmp_path_factory.mktemp("scores") / "scores.csv", rows())
  return metric_table.analyse(FLOPS, STRATA, metric_scores.read([path], RUNS), ["loss", "1-score"], 100, 0)


def test_each_slice_has_the_course_that_was_planted(found):
  told = {(e.metric, e.slice): e for e in found}
  assert list(told) == [(m, s) for m in ("loss", "1-score") for s in ("all", "open road", "town")]
  assert {key: e.found.verdict for key, e in told.items()} == dict.fromkeys(told, "improves") | {
    ("1-score", "town"): "saturates"
  }
  assert told["loss", "open road"].alpha.value == pytest.approx(0.1, abs=0.02)
  assert told["1-score", "open road"].alpha.value == pytest.approx(0.3, abs=0.03)
  assert told["loss", "all"].ranks is None and told["1-score", "open road"].ranks.value > 0.95


def test_what_is_left_behind_can_be_read_and_drawn(found, tmp_path):
  metric_table.write(tmp_path, found)
  with open(tmp_path / "metric_law.csv") as file:
    table = list(csv.DictReader(file))
  assert [row["slice"] for row in table] == ["all", "open road", "town"] * 2
  assert float(table[0]["last_low"]) < float(table[0]["last"]) < float(table[0]["last_high"])
  text = metric_table.markdown(found)
  assert text.count("saturates") == 1 and len({line.count("|") for line in text.splitlines()}) == 1
  figure = metric_laws.draw(FLOPS, found, ["loss", "1-score"])
  assert sum(len(ax.lines) > 0 for ax in figure.axes) == 6


def test_a_metric_that_is_nought_has_no_pace_and_is_left_blank(tmp_path):
  nought = {"collision_rate": {"town": metric_table.saturation.Cells(np.zeros((36, 2)), np.ones((36, 2)))}}
  found = metric_table.analyse(FLOPS, STRATA, nought, ["collision_rate"], 100, 0)
  metric_table.write(tmp_path, found)
  with open(tmp_path / "metric_law.csv") as file:
    assert {(row["last"], row["verdict"]) for row in csv.DictReader(file)} == {("", "cannot tell")}
  assert "| - | cannot tell |" in metric_table.markdown(found)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda t: t + [t[0] | {"run_id": "other"}], "run other is not in --runs"),
    (lambda t: t + [t[0] | {"value": 0.5}], "has another value of this before"),
    (lambda t: t[1:], "run r00 has no loss in open road, at all"),
    (lambda t: [t[0] | {"value": "nan"}, *t[1:]], "value is nan over 12.0"),
    (lambda t: [t[0] | {"count": "many"}, *t[1:]], "value or count is no number"),
  ],
)
def test_a_table_that_would_mislead_is_refused(tmp_path, change, words):
  path = written(tmp_path / "scores.csv", change(list(rows())))
  with pytest.raises(BadInput, match=words.replace(".", r"\.")):
    metric_scores.read([path], RUNS)


def test_an_exact_repeat_is_no_other_value_and_a_metric_must_be_there(tmp_path):
  path = written(tmp_path / "scores.csv", rows())
  scores = metric_scores.read([path, path], RUNS)
  with pytest.raises(BadInput, match="choose from loss, score"):
    metric_table.analyse(FLOPS, STRATA, scores, ["1-scores"], 100, 0)


def test_the_loss_is_in_the_run_table_and_a_frontier_is_of_the_best_sizes():
  flops, params = np.array([1.0, 1, 1, 10, 10, 10]), np.array([1.0, 1, 2, 2, 2, 4])
  loss = np.array([2.0, 2.2, 2.05, 1.5, 1.6, 1.4])
  slices = '{{"highway": {0}, "moving": 9, "moving/highway": 9, "rural": 1}}'
  rows = tuple({"run_id": str(k), "loss_by_slice": slices.format(v)} for k, v in enumerate(loss))
  runs = Runs(params, flops, flops, loss, rows, "")
  best = metric_scores.best_sizes(runs)
  assert [row["run_id"] for row in best.rows] == ["2", "5"]
  scores = metric_scores.of_runs(best)
  assert scores["loss"].keys() == {"highway", "rural"}
  assert scores["loss"]["highway"].mean.tolist() == [[2.05], [1.4]]
