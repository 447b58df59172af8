"""Scores of runs by metric, slice and cluster: read from tables, the held-out loss from the run table itself."""

import csv
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np

from data.errors import BadInput
from scaling.fitting import isoflop
from scaling.fitting.saturation import Cells
from scaling.table import Runs

COLUMNS = ("run_id", "metric", "slice", "cluster", "value", "count")
LOSS = "loss"
_REMEDY = "give the scores.csv of evaluation.score_runs"
Scores = Mapping[str, Mapping[str, Cells]]  # metric to slice


def of_runs(runs: Runs) -> dict[str, dict[str, Cells]]:
  """The held-out loss by domain: `loss_by_slice` of the run table, without what is by anything else as well."""
  cells = [json.loads(row.get("loss_by_slice") or "{}") for row in runs.rows]
  names = [name for name in cells[0] if "/" not in name and name != "moving"]
  missing = next(
    (row["run_id"] for row, own in zip(runs.rows, cells, strict=True) if not {*names} <= {*own}), None
  )
  if missing:
    raise BadInput(
      f"run {missing} has no loss of some slice", "--runs", "give runs with the same held-out split"
    )
  one = np.ones((len(runs), 1))
  found = {name: Cells(np.array([[own[name]] for own in cells], float), one) for name in names}
  return {LOSS: found} if found else {}


def best_sizes(runs: Runs) -> Runs:
  """Of each budget only the size with the least mean loss: the frontier of a ladder."""
  budget = isoflop.budgets(runs.flops)
  means = {
    (k, n): float(runs.loss[(budget == k) & (runs.params == n)].mean())
    for k, n in zip(budget.tolist(), runs.params.tolist(), strict=True)
  }
  best = {k: min((n for b, n in means if b == k), key=lambda n: means[k, n]) for k in set(budget.tolist())}
  return runs.where(
    np.array([best[k] == n for k, n in zip(budget.tolist(), runs.params.tolist(), strict=True)])
  )


def read(paths: Sequence[os.PathLike | str], run_ids: Sequence[str]) -> Scores:
  """Cells [R, K] of every metric and slice, runs in the order of `run_ids`.

  Raises BadInput for a column that is missing, a cell that is no number, two values of one thing, a row of another run,
  and a run without a value in some slice.
  """
  place = {name: k for k, name in enumerate(run_ids)}
  values: dict[tuple[str, str], dict[tuple[int, str], tuple[float, float]]] = {}
  for path in paths:
    for line, row in enumerate(_rows(path), 2):
      where = f"{path} line {line}"
      if row["run_id"] not in place:
        raise BadInput(
          f"run {row['run_id']} is not in --runs", where, "give the run table of all runs scored"
        )
      try:
        cell = float(row["value"]), float(row["count"])
      except (TypeError, ValueError):
        raise BadInput("value or count is no number", where, _REMEDY) from None
      if not (np.isfinite(cell[0]) and 0 < cell[1] < np.inf):
        raise BadInput(f"value is {cell[0]} over {cell[1]}", where, _REMEDY)
      own = values.setdefault((row["metric"], row["slice"]), {})
      key = place[row["run_id"]], row["cluster"]
      if own.setdefault(key, cell) != cell:
        raise BadInput(f"run {row['run_id']} has another value of this before", where, "drop one")
  found: dict[str, dict[str, Cells]] = {}
  for (metric, slice_), own in sorted(values.items()):
    clusters = sorted({cluster for _, cluster in own})
    mean, count = np.zeros((2, len(run_ids), len(clusters)))
    for (r, cluster), (value, weight) in own.items():
      k = clusters.index(cluster)
      mean[r, k], count[r, k] = value, weight
    if not (count > 0).all():
      r, k = np.argwhere(count == 0)[0]
      what = f"run {run_ids[r]} has no {metric} in {slice_}, {clusters[k] or 'at all'}"
      raise BadInput(what, ", ".join(map(str, paths)), "score all runs on the same scenes and worlds")
    found.setdefault(metric, {})[slice_] = Cells(mean, count)
  return found


def _rows(path: os.PathLike | str) -> list[dict[str, str]]:
  try:
    with open(path, encoding="utf-8", newline="") as file:
      reader = csv.DictReader(file)
      missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
      if missing:
        raise BadInput(f"column {missing[0]!r} is missing", path, _REMEDY)
      return list(reader)
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise BadInput(f"cannot be read ({error})", path, _REMEDY) from None
