"""Scores of runs read from tables, the law of each metric in each slice, and what is left behind of it."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data.errors import BadInput
from data.files import write_json_atomic, write_text_atomic
from scaling.fitting import saturation
from scaling.fitting.saturation import Cells, Draws, Estimate, Found
from scaling.laws import henighan
from scaling.laws.henighan import Law

COLUMNS = ("run_id", "metric", "slice", "cluster", "value", "count")
MISSING = "1-"  # before the name of a share of which more is better
ALL = "all"
_REMEDY = "give the scores.csv of evaluation.score_runs"
Scores = Mapping[str, Mapping[str, Cells]]  # metric to slice


@dataclasses.dataclass(frozen=True)
class Entry:
  """One metric in one slice. `draws` of the metric, `law` fitted to it and `laws` to the draws; `found` by its pace;
  `ranks` the rank correlation over runs with the first metric, None for that one."""

  metric: str
  slice: str
  draws: Draws
  law: Law
  laws: Law
  found: Found
  ranks: Estimate | None

  @property
  def alpha(self) -> Estimate:
    return self._of("alpha")

  @property
  def floor(self) -> Estimate:
    return self._of("E")

  def _of(self, name: str) -> Estimate:
    drawn = np.concatenate([[getattr(self.law, name)], getattr(self.laws, name)])
    return self.draws.estimate(drawn, np.ones(len(self.draws.strata), bool))


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


def analyse(
  flops: np.ndarray, strata: np.ndarray, scores: Scores, metrics: Sequence[str], draws: int, seed: int
) -> list[Entry]:
  """An entry per metric and slice, the slices of each metric after the mean of all of them.

  Args: strata: as of `saturation.draw`. metrics: names in `scores`, after MISSING or not.
  """
  first: dict[str, Draws] = {}
  found = []
  for metric in metrics:
    name = metric.removeprefix(MISSING)
    if name not in scores:
      raise BadInput(f"no metric {name!r}", "--metrics", f"choose from {', '.join(sorted(scores))}")
    own = scores[name]
    if metric != name:
      own = {slice_: Cells(1 - cells.mean, cells.count) for slice_, cells in own.items()}
    for slice_, parts in [(ALL, list(own.values())), *((slice_, [cells]) for slice_, cells in own.items())]:
      drawn = saturation.draw(parts, strata, flops, draws, seed)
      law = henighan.fit(flops, drawn.values[0])
      laws = henighan.resample(law, flops, drawn.values[1:], drawn.weights[1:])
      ranks = saturation.rank_correlation(first[slice_], drawn) if slice_ in first else None
      found.append(Entry(metric, slice_, drawn, law, laws, saturation.judge(flops, drawn), ranks))
      if metric == metrics[0]:
        first[slice_] = drawn
  return found


def write(out: pathlib.Path, found: Sequence[Entry]) -> None:
  """metric_law.csv, a row per entry, and the same as metric_law.json."""
  rows = [
    {"metric": e.metric, "slice": e.slice, "verdict": e.found.verdict}
    | {name: getattr(e.found, name) for name in ("last", "before", "whole")}
    | {"alpha": e.alpha, "E": e.floor, "rank_correlation": e.ranks}
    for e in found
  ]
  write_json_atomic(
    out / "metric_law.json",
    {
      "metrics": [
        {key: dataclasses.asdict(v) if isinstance(v, Estimate) else v for key, v in row.items()}
        for row in rows
      ]
    },
  )
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  numbers = [key for key in rows[0] if key not in ("metric", "slice", "verdict")]
  writer.writerow(
    ["metric", "slice", "verdict", *(n + end for n in numbers for end in ("", "_low", "_high"))]
  )
  for row in rows:
    cells = [c for name in numbers for c in _cells(row[name])]
    writer.writerow([row["metric"], row["slice"], row["verdict"], *cells])
  write_text_atomic(out / "metric_law.csv", text.getvalue())


def _cells(estimate: Estimate | None) -> list[str]:
  if estimate is None:
    return ["", "", ""]
  return [f"{v:.4g}" for v in (estimate.value, *(estimate.ci95 or (np.nan, np.nan)))]


def markdown(found: Sequence[Entry]) -> str:
  """A table for people: a line per slice, for each metric its exponent, pace and verdict."""
  metrics = list(dict.fromkeys(e.metric for e in found))
  lines = [f"| slice | {' | '.join(f'{m}: exponent | last decade | verdict' for m in metrics)} |"]
  lines.append("|---" * (1 + 3 * len(metrics)) + "|")
  for slice_ in dict.fromkeys(e.slice for e in found):
    cells = [slice_]
    for metric in metrics:
      own = [e for e in found if (e.metric, e.slice) == (metric, slice_)]
      cells += (
        [said(own[0].alpha), said(own[0].found.last, 100), own[0].found.verdict] if own else ["", "", ""]
      )
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def said(estimate: Estimate, times: float = 1.0) -> str:
  """ "0.31 [0.25, 0.40]", or percent with `times` 100."""
  digits = 2 if times == 1 else 0
  unit = "" if times == 1 else " %"
  ends = "open" if estimate.ci95 is None else ", ".join(f"{times * v:.{digits}f}" for v in estimate.ci95)
  return f"{times * estimate.value:.{digits}f} [{ends}]{unit}"
