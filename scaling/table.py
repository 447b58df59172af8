"""The run table: one row per finished run, as a CSV that fits and figures are made from.

Units: `params`, `params_total` parameters (`params` without embeddings), `tokens`, `unique_tokens`,
`batch_tokens` supervised tokens, `flops` and `flops_6nd` training FLOPs (`flops` fully counted, `flops_6nd`
6 N D), `loss` held-out nats per token, `seconds` wall clock, `started` UTC of the first attempt.
`split_fingerprint` tells the dataset and the split that the loss was measured on; `objective` also what was hidden
from the model.
"""

import csv
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from data.errors import BadInput
from data.files import canonical_json, read_json, sha256, write_text_atomic

COLUMNS = (
  "run_id", "family", "objective", "dataset", "split_fingerprint", "params", "params_total", "tokens",
  "unique_tokens", "flops", "flops_6nd", "loss", "loss_by_slice", "seed", "learning_rate", "batch_tokens",
  "steps", "seconds", "device", "git_revision", "config_hash", "started",
)  # fmt: skip
REQUIRED = ("run_id", "params", "tokens", "flops", "loss")
NUMBERS = ("params", "tokens", "flops", "loss")
COMPARABLE = ("family", "objective", "split_fingerprint")
# A run's FLOPs are 2 to 20 times its N D: attention, logits and small models push the factor up, embeddings
# left out of N further. Outside these bounds a column is in thousands, millions or billions.
FLOPS_PER_ND = (0.5, 500.0)


@dataclasses.dataclass(frozen=True)
class Runs:
  """Attributes: float64 arrays over the R runs, in file order; `rows` are the CSV's cells as text."""

  params: np.ndarray
  tokens: np.ndarray
  flops: np.ndarray
  loss: np.ndarray
  rows: tuple[dict[str, str], ...]
  table_sha256: str

  def __len__(self) -> int:
    return len(self.loss)

  def where(self, keep: np.ndarray) -> "Runs":
    """The rows where `keep` (bool [R]) holds."""
    rows = tuple(row for row, kept in zip(self.rows, keep, strict=True) if kept)
    numbers = {name: getattr(self, name)[keep] for name in NUMBERS}
    return dataclasses.replace(self, rows=rows, **numbers)

  def rows_sha256(self) -> str:
    """Digest of what a fit sees (id, N, D, C, loss of each run), whatever the order of the rows."""
    seen = sorted([row["run_id"], *(repr(float(row[name])) for name in NUMBERS)] for row in self.rows)
    return hashlib.sha256(canonical_json(seen).encode()).hexdigest()


def read_runs(path: os.PathLike | str) -> Runs:
  """Reads and checks a run table.

  Raises BadInput that names the row (as an editor counts lines, the header being line 1), the column and the
  remedy: columns missing, a cell that is not a positive finite number, a run that appears twice, FLOPs that
  do not fit N D.
  """
  path = pathlib.Path(path)
  try:
    text = path.read_text(encoding="utf-8-sig")
  except (OSError, UnicodeDecodeError) as error:
    raise BadInput(f"cannot be read ({error})", path, "give the runs.csv of a sweep") from None
  reader = csv.DictReader(io.StringIO(text))
  header = reader.fieldnames or []
  missing = [name for name in REQUIRED if name not in header]
  if missing:
    raise BadInput(f"column {missing[0]!r} is missing", path, f"it needs {', '.join(REQUIRED)}")
  if len(set(header)) < len(header):
    raise BadInput("two columns share a name", path, "rename one")
  rows, lines = [], []
  for row in reader:
    if None in row or None in row.values():
      raise BadInput(f"has not {len(header)} cells", f"{path} line {reader.line_num}", "mend the line")
    rows.append(row)
    lines.append(reader.line_num)
  if not rows:
    raise BadInput("holds no run", path, "let the sweep finish at least one")
  numbers = {name: _numbers(path, name, rows, lines) for name in NUMBERS}
  _refuse_duplicates(path, rows, lines)
  _refuse_units(path, numbers, lines)
  _refuse_mixtures(path, rows)
  return Runs(**numbers, rows=tuple(rows), table_sha256=sha256(path))


def read_many(paths: Sequence[os.PathLike | str]) -> Runs:
  """Reads several tables as one; raises BadInput as `read_runs` does, and when they share a run."""
  tables = [read_runs(path) for path in paths]
  if len(tables) == 1:
    return tables[0]
  seen: dict[str, object] = {}
  for path, runs in zip(paths, tables, strict=True):
    for row in runs.rows:
      if row["run_id"] in seen:
        what = f"run_id {row['run_id']!r} is already in {seen[row['run_id']]}"
        raise BadInput(what, path, "give each run in one table only")
      seen[row["run_id"]] = path
  rows = tuple(row for runs in tables for row in runs.rows)
  _refuse_mixtures(" and ".join(map(str, paths)), rows)
  numbers = {name: np.concatenate([getattr(runs, name) for runs in tables]) for name in NUMBERS}
  digest = hashlib.sha256("".join(runs.table_sha256 for runs in tables).encode()).hexdigest()
  return Runs(**numbers, rows=rows, table_sha256=digest)


def _refuse_mixtures(where: object, rows: Sequence[dict[str, str]]) -> None:
  """Losses of other tasks, of models that see less, or on other held-out data do not lie on one surface."""
  for name in COMPARABLE:
    first = {row.get(name, ""): row["run_id"] for row in reversed(rows)}
    if len(first) > 1:
      (one, run), (other, another) = sorted(first.items())[:2]
      what = f"{name} is {one!r} in run {run} and {other!r} in run {another}: their losses do not compare"
      raise BadInput(what, where, "fit each alone")


def _numbers(path: pathlib.Path, name: str, rows: list[dict], lines: list[int]) -> np.ndarray:
  values = np.empty(len(rows), np.float64)  # never int64: FLOPs pass 2^63
  for i, row in enumerate(rows):
    try:
      values[i] = float(row[name])
    except ValueError:
      values[i] = np.nan
    if not (np.isfinite(values[i]) and values[i] > 0):
      remedy = "leave the run out or run it again: it must be a positive finite number"
      raise BadInput(f"{name} is {row[name]!r}", f"{path} line {lines[i]}", remedy)
  return values


def _refuse_duplicates(path: pathlib.Path, rows: list[dict], lines: list[int]) -> None:
  for name in ("run_id", "config_hash"):
    first: dict[str, int] = {}
    for row, line in zip(rows, lines, strict=True):
      if row.get(name) and row[name] in first:
        what = f"{name} {row[name]!r} is already on line {first[row[name]]}"
        raise BadInput(
          what, f"{path} line {line}", "keep one of the two: a run counted twice narrows intervals"
        )
      first[row.get(name, "")] = line


def _refuse_units(path: pathlib.Path, numbers: dict[str, np.ndarray], lines: list[int]) -> None:
  ratio = numbers["flops"] / (numbers["params"] * numbers["tokens"])
  wrong = np.flatnonzero((ratio < FLOPS_PER_ND[0]) | (ratio > FLOPS_PER_ND[1]))
  if len(wrong):
    what = f"flops are {ratio[wrong[0]]:.3g} times params x tokens (6 is usual)"
    raise BadInput(what, f"{path} line {lines[wrong[0]]}", "give params, tokens and flops in units of one")


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
