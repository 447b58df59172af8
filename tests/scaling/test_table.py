"""The run table: what is planted in it is found, and what is collected reads back to the last digit."""

import json

import numpy as np
import pytest

from data.errors import BadInput
from scaling import table
from tests.scaling.surface import DRIVING, isoflop, write


@pytest.fixture
def rows():
  return isoflop(DRIVING, (1e11, 4e11), (0.5, 1, 2), 0.0)


@pytest.mark.parametrize("value", ["nan", "0", "-1.2", "inf", "", "about one"])
@pytest.mark.parametrize("column", ["loss", "params", "tokens", "flops"])
def test_bad_cells_are_named(tmp_path, rows, column, value):
  rows[2][column] = value
  with pytest.raises(BadInput) as caught:
    table.read_runs(write(tmp_path / "runs.csv", rows))
  assert "runs.csv line 4" in caught.value.where and caught.value.what.startswith(column)


@pytest.mark.parametrize("column", table.REQUIRED)
def test_missing_column(tmp_path, rows, column):
  for row in rows:
    del row[column]
  with pytest.raises(BadInput, match=f"column '{column}' is missing"):
    table.read_runs(write(tmp_path / "runs.csv", rows))


def test_duplicates_and_mixtures(tmp_path, rows):
  with pytest.raises(BadInput, match=r"line 8: run_id 'run0' is already on line 2"):
    table.read_runs(write(tmp_path / "twice.csv", [*rows, rows[0]]))
  mixed = [row | {"split_fingerprint": "ab" if i else "cd"} for i, row in enumerate(rows)]
  with pytest.raises(BadInput, match="split_fingerprint is 'ab' in run run1 and 'cd' in run run0"):
    table.read_runs(write(tmp_path / "mixed.csv", mixed))
  first, again = write(tmp_path / "a.csv", rows), write(tmp_path / "b.csv", rows[:1])
  with pytest.raises(BadInput, match="run_id 'run0' is already in"):
    table.read_many([first, again])


@pytest.mark.parametrize(
  "other",
  [
    {"split_fingerprint": "ab/tune"},  # the learning rates are judged on other logs than the ladder
    {"objective": "next_token, blind to map"},  # the ablations see less
    {"objective": ""},  # nobody knows
  ],
)
def test_tables_of_other_tasks_are_not_fitted_as_one(tmp_path, rows, other):
  rows = [row | {"objective": "next_token", "split_fingerprint": "ab/validation"} for row in rows]
  ladder = write(tmp_path / "ladder.csv", rows[:4])
  more = write(tmp_path / "more.csv", rows[4:])
  assert len(table.read_many([ladder, more])) == 6
  with pytest.raises(BadInput, match="their losses do not compare; fit each alone"):
    table.read_many([ladder, write(tmp_path / "other.csv", [row | other for row in rows[4:]])])


def test_parameters_in_millions_are_refused(tmp_path, rows):
  for row in rows:
    row["params"] /= 1e6
  with pytest.raises(BadInput, match="times params x tokens"):
    table.read_runs(write(tmp_path / "runs.csv", rows))


@pytest.mark.parametrize("content", ["", "run_id,params,tokens,flops,loss\n", "\ufeffrun_id,params\n1\n"])
def test_empty_and_cut_tables(tmp_path, content):
  path = tmp_path / "runs.csv"
  path.write_text(content)
  with pytest.raises(BadInput):
    table.read_runs(path)
  with pytest.raises(BadInput):
    table.read_runs(tmp_path / "absent.csv")


def test_flops_beyond_int64(tmp_path, rows):
  rows[0] |= {"params": 10**12, "tokens": 10**13, "flops": 6 * 10**25}
  assert table.read_runs(write(tmp_path / "runs.csv", rows)).flops[0] == 6e25


def test_digest_of_rows_ignores_order_and_other_tables(tmp_path, rows):
  whole = table.read_runs(write(tmp_path / "a.csv", rows))
  turned = table.read_runs(write(tmp_path / "b.csv", rows[::-1]))
  assert whole.rows_sha256() == turned.rows_sha256()
  halves = [write(tmp_path / "c.csv", rows[:2]), write(tmp_path / "d.csv", rows[2:])]
  assert table.read_many(halves).rows_sha256() == whole.rows_sha256()
  assert whole.where(np.arange(6) < 5).rows_sha256() != whole.rows_sha256()
  rows[0]["loss"] += 1e-12
  assert table.read_runs(write(tmp_path / "e.csv", rows)).rows_sha256() != whole.rows_sha256()


def test_collect_reads_back(tmp_path):
  loss = 0.1 + 0.2
  for name in ("b", "a"):
    directory = tmp_path / name
    directory.mkdir()
    row = {"run_id": name, "params": 1000, "tokens": 10**6, "flops": 6e9, "loss": loss, "seed": 0}
    (directory / "result.json").write_text(json.dumps(row | {"loss_by_slice": {"rural, wet": 1.5}}))
    (directory / "provenance.json").write_text(
      json.dumps({"git_revision": "abc", "time": "2026-01-01T00:00:00Z"})
    )
  runs = table.read_runs(table.collect([tmp_path / "b", tmp_path / "a"], tmp_path / "runs.csv"))
  assert [row["run_id"] for row in runs.rows] == ["a", "b"]
  assert (runs.loss == loss).all()
  assert json.loads(runs.rows[0]["loss_by_slice"]) == {"rural, wet": 1.5}
  assert (runs.rows[0]["git_revision"], runs.rows[0]["started"]) == ("abc", "2026-01-01T00:00:00Z")
  with pytest.raises(BadInput, match="let the run finish"):
    table.collect([tmp_path], tmp_path / "other.csv")
  assert not (tmp_path / "other.csv").exists()
