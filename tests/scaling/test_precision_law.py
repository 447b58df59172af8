"""Which size at which bits: planted laws of a ladder are found in its tables, and the best choice by trying all."""

import csv

import numpy as np
import pytest

from data.errors import BadInput
from scaling import metric_scores, precision_table
from scaling.advice import vehicle
from scaling.figures import bits as figure_of_bits
from scaling.laws import hoffmann
from scaling.laws.kumar import PostTraining
from scaling.table import Runs

SIZES = np.array([1.5e3, 3e3, 6e3, 1.2e4])
BASE = hoffmann.Law(0.7, 30.0, 40.0, 0.6, 0.35)
BY_BITS, INT8 = PostTraining(np.log(4.0), 0.35, 0.1, 0.8), PostTraining(np.log(2e-4), 0.4, 0.0, np.inf)
BITS = {"float32": 32, "int8": 8, "weights8": 8, "weights6": 6, "weights4": 4}
SCENES = ("a", "b", "c", "d", "e", "f")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
  """runs.csv is made in memory; scores.csv and costs.csv are files, as export.ladder leaves them."""
  folder = tmp_path_factory.mktemp("ladder")
  params, flops = (g.ravel() for g in np.meshgrid(SIZES, [5e9, 1.25e10, 3.2e10, 8e10]))
  tokens = flops / (8 * params)
  loss = BASE.loss(params, tokens)
  names = [f"r{k:02d}" for k in range(len(params))]
  rng = np.random.default_rng(1)
  with open(folder / "scores.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(metric_scores.COLUMNS)
    for scene in SCENES:
      hard = rng.normal(0, 0.2)
      for recipe, bits in BITS.items():
        law = INT8 if recipe == "int8" else BY_BITS
        added = 0.0 if recipe == "float32" else law.added(params, tokens, bits)
        measured = loss + hard + added * (1 + 0.05 * rng.standard_normal(len(loss)))
        for name, value in zip(names, measured, strict=True):
          writer.writerow([name, recipe, "town", scene, value, 1000])
  with open(folder / "costs.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(precision_table.COLUMNS)
    for size in SIZES:
      for recipe, bits in BITS.items():
        writer.writerow([size, recipe, bits, size * bits / 8, 1e-3 * size, 1e-6 * size])
  rows = tuple({"run_id": name} for name in names)
  return folder, Runs(params, tokens, flops, loss, rows, "0" * 64)


@pytest.fixture(scope="module")
def found(tables):
  folder, runs = tables
  scores = metric_scores.read([folder / "scores.csv"], [row["run_id"] for row in runs.rows])
  costs, bits = precision_table.read_costs(folder / "costs.csv")
  assert bits == BITS
  return precision_table.analyse(runs, scores, bits, 200, 0), runs, costs


def test_planted_laws_are_found(found):
  laws, runs, _ = found
  for name, truth in (("weights", BY_BITS), ("int8", INT8)):
    own, drawn = laws.of(name), laws.of(name, drawn=True)
    for key in ("g_d", "g_n", "g_post"):
      if np.isfinite(getattr(truth, key)):
        low, high = laws.interval(getattr(drawn, key), getattr(own, key))
        assert low < getattr(truth, key) < high, (name, key)
        assert high - low < 0.2
  assert "weights4" in precision_table.markdown(laws, runs)


def test_runs_that_the_laws_have_not_seen_are_told_beside_the_truth(tables, found):
  folder, runs = tables
  laws, _, _ = found
  scores = metric_scores.read([folder / "scores.csv"], [row["run_id"] for row in runs.rows])
  last = np.arange(len(runs)) == len(runs) - 1
  lines = precision_table.held_out(
    laws, runs.where(last), precision_table.of_runs(scores, last)
  ).splitlines()[2:]
  assert len(lines) == len(laws.recipes)
  for line in lines:
    _, name, n, _, recipe, told, ends, measured, _ = (cell.strip() for cell in line.split("|"))
    assert (name, n) == ("r15", "12,000") and recipe in laws.recipes
    low, high = map(float, ends.split(","))
    assert low <= float(told) <= high
    assert float(measured) == pytest.approx(float(told), rel=0.2)


def test_the_choice_is_the_best_of_all_that_fit(found):
  laws, runs, costs = found
  answer = vehicle.choose(laws, runs, costs, BITS, 3.2e10, {"bytes": 4000.0})
  tried = []
  for name, bits in BITS.items():
    for n in np.geomspace(SIZES[0], SIZES[-1], 2001):
      d = 3.2e10 / (8 * n)
      more = 0.0 if name == "float32" else laws.of(name).added(n, d, bits)
      if n * bits / 8 <= 4000:
        tried.append((laws.base.loss(n, d) + more, name, n))
  loss, name, n = min(tried)
  chosen = answer.best[0]
  assert (chosen.recipe, chosen.loss) == (name, pytest.approx(loss, rel=1e-4))
  assert chosen.params == pytest.approx(n, rel=0.02)
  assert all(one.costs["bytes"] <= 4000 for one in answer.best)
  assert "float32" not in {one.recipe for one in answer.best}  # 6,000 bytes at its smallest
  assert answer.shares[name] > 0.5
  assert sum(answer.shares.values()) == pytest.approx(1)
  free = vehicle.choose(laws, runs, costs, BITS, 3.2e10, {})
  assert free.best[0].recipe == "float32"  # which nothing is added to
  figure = figure_of_bits.draw(runs, laws, answer, {"bytes": 4000.0})
  assert [len(ax.get_lines()) for ax in figure.axes] == [
    len(laws.recipes) + 1,
    len(BITS) + len(answer.best) + 1,
  ]


def test_what_cannot_be_answered_is_refused(found, tmp_path):
  laws, runs, costs = found
  with pytest.raises(BadInput, match=r"nothing fits: weights4 .* 2 times"):
    vehicle.choose(laws, runs, costs, BITS, 3.2e10, {"bytes": SIZES[0] / 4})
  with pytest.raises(BadInput, match="no cost 'watts'"):
    vehicle.choose(laws, runs, costs, BITS, 3.2e10, {"watts": 1.0})
  (tmp_path / "costs.csv").write_text("params,recipe\n")
  with pytest.raises(BadInput, match="column 'bits' is missing"):
    precision_table.read_costs(tmp_path / "costs.csv")
