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


def test_a_loss_that_rewards_collapse_is_not_fitted(tmp_path, rows):
  """A column made of probe scores is."""
  rows = [row | {"objective": "jepa", "loss_ranks": "False", "unread": row["loss"]} for row in rows]
  path = write(tmp_path / "runs.csv", rows)
  with pytest.raises(BadInput, match=r"the loss of jepa falls when features collapse.*--columns=loss:NAME"):
    table.read_runs(path)
  reading = table.Reading({"loss": "unread"}, "non_embedding")
  assert list(table.read_runs(path, reading).loss) == [row["unread"] for row in rows]
  ranked = [row | {"loss_ranks": "True"} for row in rows]
  assert len(table.read_runs(write(tmp_path / "ranked.csv", ranked))) == len(rows)


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


UNITS = [
  ("params", 1e-6, "params is 0.0", "millions"),
  ("tokens", 1e-9, "tokens is ", "billions"),
  ("tokens", 1e-6, "tokens is ", "millions"),
  ("flops", 1e-9, "flops is ", "billions"),
  ("flops", 1e-6, "flops is ", "millions"),
]


@pytest.mark.parametrize(("column", "factor", "named", "unit"), UNITS)
@pytest.mark.parametrize("which", [slice(None), slice(2, 3), slice(2, 4)])
def test_a_column_in_another_unit_is_named_in_all_rows_or_some(
  tmp_path, rows, column, factor, named, unit, which
):
  for row in rows[which]:
    row[column] *= factor
  with pytest.raises(BadInput) as caught:
    table.read_runs(write(tmp_path / "runs.csv", rows))
  assert "times params x tokens" in caught.value.what and unit in caught.value.what
  assert caught.value.where.endswith(f"line {2 if which == slice(None) else 4}")
  assert caught.value.remedy.endswith("in units of one")
  if which != slice(None) or column == "flops" or (column, factor) == ("params", 1e-6):
    assert named in caught.value.what and f"give {column} in" in caught.value.remedy


@pytest.mark.parametrize("factor", [1e6, 1e9, 1e-6, 1e-9])
@pytest.mark.parametrize("column", ["params", "tokens"])
def test_units_that_flops_agree_with_are_found_too(tmp_path, rows, column, factor):
  """C = 6 N D was computed from the wrong column: nothing but the neighbours, or D / N, can tell."""
  for which, word in ((slice(2, 3), "no run lies between"), (slice(None), "tokens per parameter")):
    wrong = [dict(row) for row in rows]
    for row in wrong[which]:
      row[column] *= factor
      row["flops"] = 6 * row["params"] * row["tokens"]
    with pytest.raises(BadInput, match=word) as caught:
      table.read_runs(write(tmp_path / "runs.csv", wrong))
    assert caught.value.where.endswith("line 4" if which == slice(2, 3) else "line 2")


def test_a_loss_in_another_unit_by_thousands_is_refused(tmp_path, rows):
  for factor in (1e3, 1e-3):
    wrong = [*rows[:2], rows[2] | {"loss": rows[2]["loss"] * factor}, *rows[3:]]
    with pytest.raises(
      BadInput, match=r"line 4: loss is .* no run lies between.*nats per token in every row"
    ):
      table.read_runs(write(tmp_path / "runs.csv", wrong))


def test_ranges_that_ladders_have_are_no_units(tmp_path, rows):
  """Two decades and more between budgets, embeddings ten times the rest: unusual, and possible."""
  for row in rows[3:]:
    row["tokens"] *= 100
    row["flops"] *= 100
  for row in rows:
    row["flops"] *= 10
  assert len(table.read_runs(write(tmp_path / "runs.csv", rows))) == 6


def test_a_run_copied_under_another_name_is_found(tmp_path, rows):
  with pytest.raises(BadInput, match="line 8: params, tokens, flops, loss and seed are those of line 3"):
    table.read_runs(write(tmp_path / "runs.csv", [*rows, rows[1] | {"run_id": "copy"}]))
  other_seed = rows[1] | {"run_id": "other", "seed": 7}
  assert len(table.read_runs(write(tmp_path / "runs.csv", [*rows, other_seed]))) == 7


def test_checkpoints_of_a_run_are_rows_only_when_runs_are_drawn(tmp_path, rows):
  half = rows[1] | {"tokens": rows[1]["tokens"] / 2, "flops": rows[1]["flops"] / 2, "loss": 3.0}
  path = write(tmp_path / "runs.csv", [*rows, half])
  with pytest.raises(BadInput, match="--bootstrap_by=run"):
    table.read_runs(path)
  assert len(table.read_runs(path, table.Reading(checkpoints=True))) == 7
  twice = write(tmp_path / "twice.csv", [*rows, half, half | {"loss": 2.9}])
  with pytest.raises(BadInput, match="line 9: run_id 'run1' is already on line 8"):
    table.read_runs(twice, table.Reading(checkpoints=True))


def test_counts_of_parameters_do_not_mix(tmp_path, rows):
  rows = [row | {"params_total": row["params"] + 500} for row in rows]
  for row in rows:
    row["flops_6nd"] = 6 * row["params"] * row["tokens"]
  path = write(tmp_path / "runs.csv", rows)
  assert table.read_runs(path).convention == "non_embedding"
  total = table.read_runs(path, table.Reading(convention="total"))
  assert (total.params - table.read_runs(path).params == 500).all() and "params = params_total" in total.rules
  assert total.rows_sha256() != table.read_runs(path).rows_sha256()
  with pytest.raises(BadInput, match="params counts non_embedding, not active"):
    table.read_runs(path, table.Reading(convention="active"))
  planted = {
    "flops_6nd is": {"params": rows[3]["params"] + 400},
    "which other rows count apart": {"params": rows[3]["params_total"], "flops_6nd": ""},
    "more than params_total": {"params_total": rows[3]["params"] - 1},
  }
  for words, change in planted.items():
    wrong = [*rows[:3], rows[3] | change, *rows[4:]]
    with pytest.raises(BadInput, match=f"line 5: .*{words}"):
      table.read_runs(write(tmp_path / "wrong.csv", wrong))
  said = [row | {"params_convention": "total" if i else "active"} for i, row in enumerate(rows)]
  with pytest.raises(BadInput, match="line 2: params_convention is 'active' here and 'total' in most rows"):
    table.read_runs(write(tmp_path / "said.csv", said))


def test_a_blank_convention_is_ours_and_says_nothing_elsewhere(tmp_path, rows):
  blank = [row | {"params_convention": ""} for row in rows]
  assert table.read_runs(write(tmp_path / "blank.csv", blank)).convention == "non_embedding"
  one = write(tmp_path / "one.csv", [*blank[:3], blank[3] | {"params_convention": "total"}, *blank[4:]])
  with pytest.raises(BadInput, match="line 5: params_convention is 'total' here and 'non_embedding' in most"):
    table.read_runs(one)
  theirs = table.Reading({"params": "params"})
  with pytest.raises(BadInput, match="line 5: params_convention is 'total' here and '' in most rows"):
    table.read_runs(one, theirs)
  with pytest.raises(BadInput, match="nothing says which parameters are counted"):
    table.read_runs(tmp_path / "blank.csv", theirs)


def test_a_cell_beyond_what_csv_holds_is_one_sentence(tmp_path, rows):
  path = write(tmp_path / "runs.csv", [*rows[:2], rows[2] | {"seed": "x" * 131_073}, *rows[3:]])
  with pytest.raises(BadInput, match=r"line 4: is no CSV \(field larger than field limit"):
    table.read_runs(path)


FOREIGN = {"params": "Model Size", "flops": "Training FLOP"}


def foreign(rows):
  return [{"Model Size": r["params"], "Training FLOP": r["flops"], "loss": r["loss"]} for r in rows]


def test_a_foreign_table_reads_as_the_same_runs(tmp_path, rows):
  path = write(tmp_path / "theirs.csv", foreign(rows))
  theirs = table.read_runs(path, table.Reading(FOREIGN, "total"))
  ours = table.read_runs(write(tmp_path / "ours.csv", rows))
  for name in table.NUMBERS:
    assert getattr(theirs, name) == pytest.approx(getattr(ours, name), rel=1e-14)
  assert (theirs.convention, theirs.rules) == ("total", ("tokens = flops / (6 params)",))
  assert len({row["run_id"] for row in theirs.rows}) == 6 and len(theirs.rows_sha256()) == 64
  no_flops = [{"N": r["params"], "D": r["tokens"], "loss": r["loss"]} for r in rows]
  reading = table.Reading({"params": "N", "tokens": "D"}, "total")
  other = table.read_runs(write(tmp_path / "nd.csv", no_flops), reading)
  assert other.flops == pytest.approx(ours.flops) and other.rules == ("flops = 6 params tokens",)


def test_a_foreign_table_that_says_too_little_is_refused(tmp_path, rows):
  path = write(tmp_path / "theirs.csv", foreign(rows))
  with pytest.raises(BadInput, match=r"nothing says which parameters are counted.*--params_convention="):
    table.read_runs(path, table.Reading(FOREIGN))
  with pytest.raises(
    BadInput, match="has no column 'Size' for params; its columns are Model Size, Training FLOP"
  ):
    table.read_runs(path, table.Reading({"params": "Size"}, "total"))
  with pytest.raises(BadInput, match="column 'tokens' is missing"):
    table.read_runs(path, table.Reading({"params": "Model Size"}, "total"))
  millions = [row | {"Model Size": row["Model Size"] / 1e6} for row in foreign(rows)]
  with pytest.raises(
    BadInput, match=r"params \(Model Size\) and flops \(Training FLOP\) make .* tokens per parameter"
  ):
    table.read_runs(write(tmp_path / "m.csv", millions), table.Reading(FOREIGN, "total"))


def test_largest_losses_are_dropped_by_a_rule_that_is_kept(tmp_path, rows):
  runs = table.read_runs(write(tmp_path / "runs.csv", rows))
  kept = table.drop_largest_losses(runs, 2)
  assert sorted(kept.loss) == sorted(runs.loss)[:-2]
  assert kept.rules == (f"runs of loss {sorted(runs.loss.tolist())[-2]!r} and more are dropped: 2 of 6",)
  assert table.drop_largest_losses(runs, 0) is runs
  with pytest.raises(BadInput, match="leaves none of 6 runs"):
    table.drop_largest_losses(runs, 6)


@pytest.mark.parametrize("content", ["", "run_id,params,tokens,flops,loss\n", "\ufeffrun_id,params\n1\n"])
def test_empty_and_cut_tables(tmp_path, content):
  path = tmp_path / "runs.csv"
  path.write_text(content)
  with pytest.raises(BadInput):
    table.read_runs(path)
  with pytest.raises(BadInput):
    table.read_runs(tmp_path / "absent.csv")


def test_flops_beyond_int64(tmp_path, rows):
  row = {"run_id": "large", "params": 10**12, "tokens": 10**13, "flops": 6 * 10**25, "loss": 1.0, "seed": 0}
  assert table.read_runs(write(tmp_path / "runs.csv", [row])).flops[0] == 6e25


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
    row = {"run_id": name, "params": 1000, "tokens": 10**6, "flops": 6e9, "loss": loss, "loss_ranks": True}
    row |= {"seed": name}
    (directory / "result.json").write_text(json.dumps(row | {"loss_by_slice": {"rural, wet": 1.5}}))
    (directory / "provenance.json").write_text(
      json.dumps({"git_revision": "abc", "time": "2026-01-01T00:00:00Z"})
    )
  runs = table.read_runs(table.collect([tmp_path / "b", tmp_path / "a"], tmp_path / "runs.csv"))
  assert [row["run_id"] for row in runs.rows] == ["a", "b"]
  assert (runs.loss == loss).all() and runs.rows[0]["loss_ranks"] == "True"
  assert json.loads(runs.rows[0]["loss_by_slice"]) == {"rural, wet": 1.5}
  assert runs.rows[0]["params_convention"] == runs.convention == "non_embedding"
  assert (runs.rows[0]["git_revision"], runs.rows[0]["started"]) == ("abc", "2026-01-01T00:00:00Z")
  with pytest.raises(BadInput, match="let the run finish"):
    table.collect([tmp_path], tmp_path / "other.csv")
  assert not (tmp_path / "other.csv").exists()
