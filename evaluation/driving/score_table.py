"""Scores of many runs in one table, by slice and by what was shared: a scene, or a world.

A row is one run's mean of one metric over the `count` agents or episodes of one scene or world: `run_id`, `metric`,
`slice`, `cluster`, `value`, `count`. Every run meets the same clusters, so that what a cluster does to all of them
cancels when runs are compared.
"""

import csv
import dataclasses
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from data.files import write_text_atomic
from evaluation.driving.scores import RATES


@dataclasses.dataclass(frozen=True, order=True)
class Row:
  run_id: str
  metric: str
  slice: str
  cluster: str
  value: float
  count: int


def of_forecasts(
  run_id: str, totals: Mapping[str, np.ndarray], counts: np.ndarray, slices: list[str], clusters: list[str]
) -> list[Row]:
  """Of sums [B] of each metric over the `counts` [B] agents of a window, its slice and its scene."""
  found = []
  for cluster in dict.fromkeys(clusters):
    own = np.array([name == cluster for name in clusters])
    if counts[own].sum():
      where = slices[int(own.argmax())]
      for metric, total in totals.items():
        value = float(total[own].sum() / counts[own].sum())
        found.append(Row(run_id, metric, where, cluster, value, int(counts[own].sum())))
  return found


def of_episodes(episodes: Iterable[Mapping[str, Any]]) -> list[Row]:
  """Of episodes whose driver is a run and its kind of move, "RUN:MOVES": score, rates and progress by world."""
  groups = defaultdict(list)
  for episode in episodes:
    groups[episode["driver"].partition(":")[0], episode["domain"], str(episode["seed"])].append(episode)
  found = []
  for (run_id, domain, world), own in groups.items():
    for metric in ("score", "progress", *RATES):
      term = RATES.get(metric, metric)
      values = [1 - e[term] if metric in RATES else e[term] for e in own if e[term] is not None]
      if values:
        found.append(Row(run_id, metric, domain, world, float(np.mean(values)), len(values)))
  return found


def write(path: os.PathLike | str, rows: Iterable[Row]) -> None:
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow([field.name for field in dataclasses.fields(Row)])
  for row in sorted(rows):
    writer.writerow([row.run_id, row.metric, row.slice, row.cluster, f"{row.value:.6g}", row.count])
  write_text_atomic(path, text.getvalue())
