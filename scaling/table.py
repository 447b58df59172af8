"""The run table: one row per finished run, as a CSV that fits and figures are made from.

`params_convention` says which parameters `params` counts (CONVENTIONS); a table of ours that is silent counts them
without embeddings. A law holds for one count: exponents move from 0.37 to 0.70 with it on one table. Other people's
tables are read through a `Reading`: what their columns are called, and what they count.

Units: `params`, `params_total` parameters, `tokens`, `unique_tokens`,
`batch_tokens` supervised tokens, `flops` and `flops_6nd` training FLOPs (`flops` fully counted, `flops_6nd`
6 N D), `loss` held-out nats per token, `seconds` wall clock, `started` UTC of the first attempt.
`loss_ranks` False where a lower loss is no better run (experiments/task.py); blank: True.
`probes` what is read out of its features, by target (evaluation/probing/ladder.py), as JSON.
`split_fingerprint` tells the dataset and the split that the loss was measured on; `objective` also what was hidden
from the model.
"""

import csv
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data.errors import BadInput
from data.files import canonical_json, read_json, sha256, write_text_atomic
from scaling import table_checks

COLUMNS = (
  "run_id", "family", "objective", "dataset", "split_fingerprint", "params", "params_total", "params_convention",
  "tokens", "unique_tokens", "flops", "flops_6nd", "loss", "loss_ranks", "loss_by_slice", "seed", "learning_rate",
  "schedule", "batch_tokens", "steps", "seconds", "device", "git_revision", "config_hash", "started", "probes",
)  # fmt: skip
REQUIRED = ("run_id", "params", "tokens", "flops", "loss")
NUMBERS = ("params", "tokens", "flops", "loss")
CONVENTIONS = ("non_embedding", "total", "active")
DERIVED = {"tokens": "tokens = flops / (6 params)", "flops": "flops = 6 params tokens"}


@dataclasses.dataclass(frozen=True)
class Reading:
  """How a table is to be read.

  Attributes:
    columns: name of the run table -> name in the file; with it, run ids may be missing (lines take their place), and
      one of tokens and flops (DERIVED).
    convention: what N must count, of CONVENTIONS; None takes what the table says.
    checkpoints: whether a run may have several rows, each at other tokens.
  """

  columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
  convention: str | None = None
  checkpoints: bool = False


@dataclasses.dataclass(frozen=True)
class Runs:
  """Attributes: float64 arrays over the R runs, in file order; `rows` are the CSV's cells as text, under our names;
  `convention` what N counts; `rules` by which the table was read and cut, one clause each."""

  params: np.ndarray
  tokens: np.ndarray
  flops: np.ndarray
  loss: np.ndarray
  rows: tuple[dict[str, str], ...]
  table_sha256: str
  convention: str = CONVENTIONS[0]
  rules: tuple[str, ...] = ()

  def __len__(self) -> int:
    return len(self.loss)

  @property
  def unique(self) -> np.ndarray:
    """float64 [R]: unique tokens of each run; NaN where the table does not say, or not in a positive number."""

    def number(cell: str) -> float:
      try:
        return float(cell)
      except ValueError:
        return np.nan

    cells = np.array([number(row.get("unique_tokens", "")) for row in self.rows])
    return np.where(np.isfinite(cells) & (cells > 0), cells, np.nan)

  def where(self, keep: np.ndarray) -> "Runs":
    """The rows where `keep` (bool [R]) holds."""
    rows = tuple(row for row, kept in zip(self.rows, keep, strict=True) if kept)
    numbers = {name: getattr(self, name)[keep] for name in NUMBERS}
    return dataclasses.replace(self, rows=rows, **numbers)

  def rows_sha256(self) -> str:
    """Digest of what a fit sees (id, N, D, C, loss of each run), whatever the order of the rows."""
    seen = sorted(
      [row["run_id"], *(repr(float(getattr(self, name)[i])) for name in NUMBERS)]
      for i, row in enumerate(self.rows)
    )
    return hashlib.sha256(canonical_json(seen).encode()).hexdigest()


def read_runs(path: os.PathLike | str, reading: Reading = Reading()) -> Runs:
  """Reads and checks a run table.

  Raises BadInput that names the row (as an editor counts lines, the header being line 1), the column and the
  remedy: columns missing, a cell that is not a positive finite number, a run that appears twice, units that are not
  one, several ways to count N.
  """
  path = pathlib.Path(path)
  header, rows, lines = _rows(path)
  for name, theirs in reading.columns.items():
    if theirs not in header:
      raise BadInput(f"has no column {theirs!r} for {name}", path, f"its columns are {', '.join(header)}")
  for row in rows:
    row |= {name: row[theirs] for name, theirs in reading.columns.items()}
  known = {*header, *reading.columns}
  rules: list[str] = []
  missing = [name for name in REQUIRED if name not in {*known, *DERIVED, "run_id"}]
  if reading.columns:
    if "run_id" not in known:
      digest = sha256(path)[:8]  # ids of lines must differ between tables
      rows = [row | {"run_id": f"{digest}:{line}"} for row, line in zip(rows, lines, strict=True)]
      known.add("run_id")
    absent = [name for name in DERIVED if name not in known]
    if len(absent) == 1:
      rules.append(DERIVED[absent[0]])
      known.add(absent[0])
  missing = missing or [name for name in REQUIRED if name not in known]
  if missing:
    remedy = f"it needs {', '.join(REQUIRED)}; --columns=params:NAME,... says what they are called here"
    raise BadInput(f"column {missing[0]!r} is missing", path, remedy)
  if reading.columns.get("loss", "loss") == "loss":
    table_checks.refuse_collapsing(path, rows, lines)
  convention, counted = _convention(path, known, rows, lines, reading)
  if counted != "params":
    rules.append(f"params = {counted}")
  derived = next((name for name, rule in DERIVED.items() if rule in rules), None)
  names = {name: counted if name == "params" else name for name in NUMBERS if name != derived}
  numbers = {name: table_checks.numbers(path, name, cell, rows, lines) for name, cell in names.items()}
  if derived == "tokens":
    numbers["tokens"] = numbers["flops"] / 6 / numbers["params"]
  elif derived == "flops":
    numbers["flops"] = 6 * numbers["params"] * numbers["tokens"]
  table_checks.refuse_duplicates(path, numbers, rows, lines, reading.checkpoints)
  table_checks.refuse_units(path, numbers, lines, reading.columns, derived)
  table_checks.refuse_counts(path, numbers, rows, lines, counted)
  table_checks.refuse_mixtures(path, rows)
  return Runs(
    **numbers, rows=tuple(rows), table_sha256=sha256(path), convention=convention, rules=tuple(rules)
  )


def read_many(paths: Sequence[os.PathLike | str], reading: Reading = Reading()) -> Runs:
  """Reads several tables as one; raises BadInput as `read_runs` does, and when they share a run or count otherwise."""
  tables = [read_runs(path, reading) for path in paths]
  if len(tables) == 1:
    return tables[0]
  seen: dict[str, object] = {}
  for path, runs in zip(paths, tables, strict=True):
    if runs.convention != tables[0].convention:
      what = f"params counts {runs.convention}, but {tables[0].convention} in {paths[0]}"
      raise BadInput(what, path, "fit each alone")
    for name in {row["run_id"] for row in runs.rows}:
      if name in seen:
        what = f"run_id {name!r} is already in {seen[name]}"
        raise BadInput(what, path, "give each run in one table only")
      seen[name] = path
  rows = tuple(row for runs in tables for row in runs.rows)
  table_checks.refuse_mixtures(" and ".join(map(str, paths)), rows)
  numbers = {name: np.concatenate([getattr(runs, name) for runs in tables]) for name in NUMBERS}
  digest = hashlib.sha256("".join(runs.table_sha256 for runs in tables).encode()).hexdigest()
  rules = tuple(dict.fromkeys(rule for runs in tables for rule in runs.rules))
  return Runs(**numbers, rows=rows, table_sha256=digest, convention=tables[0].convention, rules=rules)


def drop_largest_losses(runs: Runs, count: int) -> Runs:
  """Without the runs whose loss reaches the `count`-th largest; the rule is kept with the table.

  Raises BadInput when nothing would be left.
  """
  if not count:
    return runs
  if count >= len(runs):
    raise BadInput(f"leaves none of {len(runs)} runs", "--drop_largest_losses", "drop fewer")
  limit = float(np.sort(runs.loss)[-count])
  kept = runs.where(runs.loss < limit)
  rule = f"runs of loss {limit!r} and more are dropped: {len(runs) - len(kept)} of {len(runs)}"
  return dataclasses.replace(kept, rules=(*runs.rules, rule))


def _rows(path: pathlib.Path) -> tuple[list[str], list[dict[str, str]], list[int]]:
  """Header, rows and the lines where they end."""
  try:
    text = path.read_text(encoding="utf-8-sig")
  except (OSError, UnicodeDecodeError) as error:
    raise BadInput(f"cannot be read ({error})", path, "give the runs.csv of a sweep") from None
  reader = csv.DictReader(io.StringIO(text))
  rows, lines = [], []
  try:
    header = list(reader.fieldnames or [])
    if len(set(header)) < len(header):
      raise BadInput("two columns share a name", path, "rename one")
    for row in reader:
      if None in row or None in row.values():
        raise BadInput(f"has not {len(header)} cells", f"{path} line {reader.line_num}", "mend the line")
      rows.append(row)
      lines.append(reader.line_num)
  except csv.Error as error:
    raise BadInput(f"is no CSV ({error})", f"{path} line {reader.line_num + 1}", "mend the line") from None
  if header and not rows:
    raise BadInput("holds no run", path, "let the sweep finish at least one")
  return header, rows, lines


def _convention(
  path: pathlib.Path, known: set[str], rows: list[dict[str, str]], lines: list[int], reading: Reading
) -> tuple[str, str]:
  """What N counts, and the column that counts it; a blank cell of ours says non_embedding, of theirs nothing."""
  flag = f"--params_convention={'|'.join(CONVENTIONS)}"
  silent = "" if reading.columns else CONVENTIONS[0]
  said = [row["params_convention"] or silent for row in rows] if "params_convention" in known else [silent]
  usual = max(dict.fromkeys(said), key=said.count)
  for line, other in zip(lines, said, strict=False):
    if other != usual:
      what = f"params_convention is {other!r} here and {usual!r} in most rows (blank: {silent!r})"
      raise BadInput(what, f"{path} line {line}", "fit each alone, or fill the column in")
  own = usual or None
  if own is not None and own not in CONVENTIONS:
    raise BadInput(f"params_convention is {own!r}", path, f"it is one of {', '.join(CONVENTIONS)}")
  wanted = reading.convention or own
  if wanted is None:
    raise BadInput("nothing says which parameters are counted", path, f"say it: {flag}")
  if own in (None, wanted):
    return wanted, "params"
  if wanted == "total" and "params_total" in known:
    return wanted, "params_total"
  raise BadInput(f"params counts {own}, not {wanted}", path, f"give a table that counts so, or {flag}")


def collect(run_directories: Iterable[os.PathLike | str], path: os.PathLike | str) -> pathlib.Path:
  """Writes the run table of finished runs, sorted by compute and size, atomically.

  Raises BadInput for a directory without result.json, or one whose row lacks a column.
  """
  rows = []
  for place in map(pathlib.Path, run_directories):
    row = read_json(place / "result.json", "let the run finish")
    if (place / "provenance.json").exists():
      facts = read_json(place / "provenance.json", "run the training command again")
      row = {"git_revision": facts.get("git_revision"), "started": facts.get("time")} | row
    if (place / "config.json").exists():
      made_by = read_json(place / "config.json", "run the training command again")
      row = {"schedule": made_by.get("optimizer", {}).get("schedule")} | row
    row = {"params_convention": CONVENTIONS[0]} | row
    absent = [name for name in REQUIRED if name not in row]
    if absent:
      raise BadInput(f"{absent[0]!r} is missing", place / "result.json", "run the training command again")
    rows.append({name: _cell(row.get(name)) for name in COLUMNS})
  rows.sort(key=lambda row: (float(row["flops"]), float(row["params"]), row["run_id"]))
  text = io.StringIO()
  writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  write_text_atomic(path, text.getvalue())
  return pathlib.Path(path)


def _cell(value: object) -> str:
  """Text of a cell; floats in full, so that the table reproduces its fit to the last digit."""
  if value is None:
    return ""
  if isinstance(value, dict | list):
    return canonical_json(value)
  return repr(value) if isinstance(value, float) else str(value)
