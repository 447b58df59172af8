"""Training curves: what a run logged is what Approach 1 sees, and designs it is not made for are told by name."""

import dataclasses
import json

import numpy as np
import pytest

from data.errors import BadInput
from scaling import curves, table
from scaling.fitting import envelope
from scaling.fitting.refusals import MidSchedule
from tests.scaling.surface import DRIVING, write

SIZES, HORIZONS = (1000, 4000, 16000), (1e6, 4e6)


def records(params, horizon):
  tokens = np.geomspace(horizon / 50, horizon, 20)
  return tokens, DRIVING.loss(params, tokens)


@pytest.fixture
def runs(tmp_path):
  """Run directories as training leaves them, and their table."""
  for params in SIZES:
    for horizon in HORIZONS:
      place = tmp_path / "runs" / f"{params}_{horizon:.0f}"
      place.mkdir(parents=True)
      tokens, loss = records(params, horizon)
      row = {"run_id": place.name, "params": params, "tokens": horizon, "flops": 8 * params * horizon}
      row |= {"unique_tokens": horizon, "loss": float(loss[-1])}
      (place / "result.json").write_text(json.dumps(row))
      lines = [{"step": 1, "event": "rollback"}]
      lines += [
        {"step": i, "tokens": t, "loss": v} for i, (t, v) in enumerate(zip(tokens, loss, strict=True))
      ]
      (place / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
  directories = sorted((tmp_path / "runs").iterdir())
  return directories, table.read_runs(table.collect(directories, tmp_path / "runs.csv"))


def test_curves_read_back_as_they_were_logged(tmp_path, runs):
  directories, rows = runs
  assert curves.collect(directories, tmp_path / "curves.csv") == 6
  made = curves.read(curves.beside([tmp_path / "runs.csv", tmp_path / "larger.csv"]), rows)
  assert len(made) == 6
  for curve in made:
    own = envelope.read_curve(tmp_path / "runs" / curve.run_id)
    assert (curve.params, curve.horizon, curve.flops_per_token) == (own.params, own.horizon, 8 * own.params)
    assert curve.tokens == pytest.approx(own.tokens, rel=1e-11)
    assert curve.loss == pytest.approx(own.loss, rel=1e-8)  # float32 in full
  some = curves.read([tmp_path / "curves.csv"], rows.where(rows.params < 10000))
  assert {curve.params for curve in some} == {1000, 4000}


def test_runs_that_logged_nothing_have_no_curve(tmp_path, runs):
  directories, rows = runs
  path = tmp_path / "curves.csv"
  (directories[0] / "metrics.jsonl").unlink()
  assert curves.collect(directories, path) == 5 and len(curves.read([path], rows)) == 5
  assert curves.collect(directories[:1], path) == 0 and not path.exists()
  assert curves.beside([tmp_path / "runs.csv"]) == []


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda text: text.replace("loss", "train_loss", 1), "column 'loss' is missing"),
    (
      lambda text: text.splitlines()[0] + "\n1000_1000000,2e4,1,nan\n",
      "line 2: loss is 'nan'; leave the record",
    ),
    (lambda text: text.splitlines()[0] + "\n1000_1000000,-2,1,1\n", "line 2: tokens is '-2'"),
    (lambda text: "\n".join(text.splitlines()[:2]), "run 1000_1000000 has one record"),
    (lambda text: text.splitlines()[0] + "\nother,2e4,1,1.0\n", "none of its curves belongs to a run"),
  ],
)
def test_bad_curves_are_named(tmp_path, runs, change, words):
  path = tmp_path / "curves.csv"
  curves.collect(runs[0], path)
  path.write_text(change(path.read_text()))
  with pytest.raises(BadInput) as caught:
    curves.read([path], runs[1])
  assert words in str(caught.value)


def test_designs_that_approach_1_is_not_made_for(tmp_path, runs):
  directories, rows = runs
  curves.collect(directories, tmp_path / "curves.csv")
  made = curves.read([tmp_path / "curves.csv"], rows)
  assert curves.conditions(made, rows) == ()
  one_each = [curve for curve in made if curve.horizon == HORIZONS[0]]
  (refusal,) = curves.conditions(one_each, rows)
  assert isinstance(refusal, MidSchedule) and "3 of 3 sizes were trained to one horizon only" in refusal.what

  def changed(**cells):
    return dataclasses.replace(rows, rows=tuple(row | cells for row in rows.rows))

  (refusal,) = curves.conditions(made, changed(unique_tokens="5e5"))
  assert isinstance(refusal, curves.RepeatedData) and "6 runs repeat" in refusal.what
  (refusal,) = curves.conditions(made, changed(schedule="wsd"))
  assert isinstance(refusal, MidSchedule) and "wsd" in refusal.what


def test_a_sweep_that_wrote_other_ids_is_refused(tmp_path, runs):
  curves.collect(runs[0], tmp_path / "curves.csv")
  rows = [row | {"run_id": f"x{i}"} for i, row in enumerate(runs[1].rows)]
  with pytest.raises(BadInput, match="or --curves= for none"):
    curves.read([tmp_path / "curves.csv"], table.read_runs(write(tmp_path / "other.csv", rows)))


def test_a_cell_beyond_what_csv_holds_is_one_sentence(tmp_path, runs):
  path = tmp_path / "curves.csv"
  path.write_text(f"run_id,tokens,flops,loss\n{'x' * 131_073},1,1,1\n")
  with pytest.raises(BadInput, match=r"line \d: is no CSV \(field larger than field limit"):
    curves.read([path], runs[1])
