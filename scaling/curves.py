"""Training curves as a CSV beside the run table: what Approach 1 (`scaling/fitting/envelope.py`) is made from.

Columns: `run_id` as in the run table, `tokens` seen so far, `flops` spent so far, `loss` of the training batches in
nats per token, one row per record of metrics.jsonl, as it was written: nothing is smoothed before the fit does.

The loss is the training loss, because a held-out loss along the way is not measured. In one pass over the data every
batch is new to the model, and the two differ by what training and held-out logs differ by; exponents are read off
curves of one kind, and levels are not mixed with the run table's. Where a run repeats its data (`unique_tokens` below
`tokens`) even the exponents are in doubt, and the envelope says so. N and the horizon of the schedule, a run's own
tokens, come from the run table.
"""

import contextlib
import csv
import io
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from data.errors import BadInput
from data.files import write_text_atomic
from scaling.fitting import envelope
from scaling.fitting.envelope import Curve
from scaling.fitting.refusals import MidSchedule, Refusal
from scaling.table import Runs

NAME = "curves.csv"
COLUMNS = ("run_id", "tokens", "flops", "loss")
LOSS = "training"
REPEATED = 1.05  # tokens over unique tokens from which a run counts as repeating its data


class RepeatedData(Refusal):
  """Training losses of runs that saw their data more than once stand where losses on unseen data should."""


def collect(run_directories: Iterable[os.PathLike | str], path: os.PathLike | str) -> int:
  """Writes the curves of finished runs, sorted by run, atomically; returns how many there are.

  A run that logged fewer than two records, or none, has no curve; without any curve there is no file.
  """
  curves = []
  for directory in run_directories:
    with contextlib.suppress(BadInput):  # its result counts all the same
      curves.append(envelope.read_curve(directory))
  if not curves:
    pathlib.Path(path).unlink(missing_ok=True)
    return 0
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(COLUMNS)
  for curve in sorted(curves, key=lambda c: c.run_id):
    for tokens, loss in zip(curve.tokens.tolist(), curve.loss.tolist(), strict=True):
      writer.writerow(
        [curve.run_id, f"{tokens:.12g}", f"{tokens * curve.flops_per_token:.10g}", f"{loss:.9g}"]
      )
  write_text_atomic(path, text.getvalue())
  return len(curves)


def beside(tables: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """The curves.csv in the folders of the tables, those that there are."""
  return [path for path in dict.fromkeys(table.with_name(NAME) for table in tables) if path.exists()]


def read(paths: Sequence[pathlib.Path], runs: Runs) -> tuple[Curve, ...]:
  """The curves of the runs in `runs`; those of other runs are left out.

  Raises BadInput that names line and column: a column missing, a cell that is no positive number, a curve with one
  record; and when none of the curves belongs to a run.
  """
  at: dict[str, dict[float, float]] = {row["run_id"]: {} for row in runs.rows}
  for path in paths:
    try:
      reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
      raise BadInput(f"cannot be read ({error})", path, "give the curves.csv of a sweep") from None
    try:
      missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
      if missing:
        raise BadInput(f"column {missing[0]!r} is missing", path, f"it needs {', '.join(COLUMNS)}")
      for row in reader:
        if row["run_id"] in at:
          seen_at, seen_loss = (_number(row, name, path, reader.line_num) for name in ("tokens", "loss"))
          at[row["run_id"]][seen_at] = seen_loss
    except csv.Error as error:
      raise BadInput(f"is no CSV ({error})", f"{path} line {reader.line_num + 1}", "mend the line") from None
  made: list[Curve] = []
  for i, row in enumerate(runs.rows):
    seen = at[row["run_id"]]
    if len(seen) == 1:
      raise BadInput(f"run {row['run_id']} has one record", paths[0], "log more often")
    if seen and not any(curve.run_id == row["run_id"] for curve in made):
      tokens = np.array(sorted(seen))
      per_token = float(runs.flops[i] / runs.tokens[i])
      loss = np.array([seen[t] for t in tokens])
      horizon = float(max(runs.tokens[k] for k, r in enumerate(runs.rows) if r["run_id"] == row["run_id"]))
      made.append(Curve(row["run_id"], float(runs.params[i]), per_token, tokens, loss, horizon))
  if not made:
    what = "none of its curves belongs to a run of the table"
    raise BadInput(what, paths[0], "give the curves.csv beside that table, or --curves= for none")
  return tuple(made)


def conditions(curves: Sequence[Curve], runs: Runs) -> tuple[Refusal, ...]:
  """What Approach 1 asks of a design and this one does not give: several horizons for each size, and data once."""
  where = f"{len(curves)} training curves"
  found: list[Refusal] = []
  horizons = {n: len({c.horizon for c in curves if c.params == n}) for n in {c.params for c in curves}}
  single = sum(count == 1 for count in horizons.values())
  if single > len(horizons) / 2:
    what = f"{single} of {len(horizons)} sizes were trained to one horizon only"
    found.append(MidSchedule(what, where, "train each size to several, each with its own schedule"))
  known = dict(zip((row["run_id"] for row in runs.rows), runs.unique, strict=True))
  repeated = [c.run_id for c in curves if c.horizon > REPEATED * known[c.run_id]]  # never where unknown
  if repeated:
    what = f"{len(repeated)} runs repeat their data: their training loss is not what unseen data would cost"
    found.append(RepeatedData(what, where, "train on unique data, or leave Approach 1 out (--curves=)"))
  late = sum(row.get("schedule", "") == "wsd" for row in runs.rows)
  if late:
    what = (
      f"{late} runs hold their rate and decay it at the end only (wsd): the middle of a curve has not decayed"
    )
    found.append(MidSchedule(what, where, "quote Approach 2 or 3, which use the ends of runs"))
  return tuple(found)


def _number(row: dict, name: str, path: pathlib.Path, line: int) -> float:
  try:
    value = float(row[name])
  except (TypeError, ValueError):
    value = float("nan")
  if not (np.isfinite(value) and value > 0):
    remedy = "leave the record out: it must be a positive finite number"
    raise BadInput(f"{name} is {row[name]!r}", f"{path} line {line}", remedy)
  return value
