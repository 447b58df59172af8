"""What each product costs the task when it alone is quantised: nats of held-out loss, with their error over scenes.

Products are those of the artifact: sites that read one activation, such as queries, keys and values, have become one,
and are quantised together. Increases of two recipes on the same records are paired, and records of one scene are no
independent evidence: the standard error is that of a ratio over scenes (W. Cochran, Sampling Techniques, ch. 6).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from export.onnx_capture import MERGED
from export.recipe import Recipe

Losses = tuple[np.ndarray, np.ndarray]  # sums [R], counts [R], of records
Group = tuple[str, ...]  # the sites of one product


@dataclasses.dataclass(frozen=True)
class Row:
  """increase: of the mean loss when `group` alone is made as in the candidate, nats. error: its standard error."""

  group: Group
  candidate: str
  increase: float
  error: float


def products(graph) -> list[Group]:
  """The products of a captured graph that can be quantised, in the order of their calculation."""
  held = {one.name for one in graph.graph.initializer}
  return [
    tuple(node.name.split(MERGED))
    for node in graph.graph.node
    if node.op_type in ("MatMul", "Gemm") and node.input[1] in held
  ]


def scan(
  measure: Callable[[Recipe], Losses],
  groups: Sequence[Group],
  candidates: Mapping[str, Recipe],
  scene_R: np.ndarray,
) -> list[Row]:
  """Every group by every candidate. measure: losses of the records with products made as a recipe says."""
  before = measure(Recipe({}, {}))
  rows = []
  for group in groups:
    for name, recipe in candidates.items():
      after = measure(Recipe({site: recipe.of(site) for site in group}, {}))
      rows.append(Row(group, name, *increase(after, before, scene_R)))
  return rows


def increase(after: Losses, before: Losses, scene_R: np.ndarray) -> tuple[float, float]:
  """(mean of after - before, its standard error over scenes); NaN as the error of a single scene."""
  _, index_R = np.unique(scene_R, return_inverse=True)
  apart_S = np.bincount(index_R, weights=after[0] - before[0])
  count_S = np.bincount(index_R, weights=before[1])
  mean, scenes = apart_S.sum() / count_S.sum(), len(count_S)
  if scenes < 2:
    return float(mean), float("nan")
  spread = ((apart_S - mean * count_S) ** 2).sum() * scenes / (scenes - 1)
  return float(mean), float(np.sqrt(spread) / count_S.sum())


def table(rows: Sequence[Row]) -> str:
  """A line for each group."""
  candidates = list(dict.fromkeys(row.candidate for row in rows))
  lines = [f"{'product':<56}" + "".join(f"{name:>24}" for name in candidates)]
  for group in dict.fromkeys(row.group for row in rows):
    own = {row.candidate: row for row in rows if row.group == group}
    told = "".join(f"{own[name].increase:>+14.5f} +- {own[name].error:.5f}" for name in candidates)
    lines.append(f"{title(group):<56}{told}")
  return "\n".join(lines)


def title(group: Group) -> str:
  """ "pair_0/time/attention/k, q, v"."""
  stem = group[0].rpartition("/")[0] + "/" if "/" in group[0] else ""
  return stem + ", ".join(site.removeprefix(stem) for site in group)
