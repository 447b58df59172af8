"""The law of each metric in each slice, and what is left behind of it."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Sequence

import numpy as np

from data.errors import BadInput
from data.files import write_text_atomic
from scaling.fitting import saturation
from scaling.fitting.saturation import Cells, Draws, Estimate, Found
from scaling.laws import henighan
from scaling.laws.henighan import Law
from scaling.metric_scores import Scores

MISSING = "1-"  # before the name of a share of which more is better
ALL = "all"


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
  """metric_law.csv, a row per entry; what is not defined, as the pace of a metric that is nought, is left blank."""
  rows = [
    {"metric": e.metric, "slice": e.slice, "verdict": e.found.verdict}
    | {name: getattr(e.found, name) for name in ("last", "before", "whole")}
    | {"alpha": e.alpha, "E": e.floor, "rank_correlation": e.ranks}
    for e in found
  ]
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
  numbers = (np.nan,) * 3 if estimate is None else (estimate.value, *(estimate.ci95 or (np.nan, np.nan)))
  return ["" if np.isnan(v) else f"{v:.4g}" for v in numbers]


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
  if np.isnan(estimate.value):
    return "-"
  digits = 2 if times == 1 else 0
  unit = "" if times == 1 else " %"
  ends = "open" if estimate.ci95 is None else ", ".join(f"{times * v:.{digits}f}" for v in estimate.ci95)
  return f"{times * estimate.value:.{digits}f} [{ends}]{unit}"
