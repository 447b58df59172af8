"""Where a compressed model parts from the full one: losses of both on the same logs, by slice.

The gap of a slice is what quantising adds to its mean loss, nats per token, records paired, its error over scenes
(export/sensitivity.py). A slice stands out when its gap exceeds that of all records by more than twice the error of
the difference: that is what is read oftener when training goes on (data/mixtures.py).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data import reader
from data.slices import Labels, members
from experiments import run as runs
from experiments.run import Run
from export import smoothing
from export.adjustable import Adjustable, record_losses
from export.candidates import scene_batches
from export.exportable import Exportable, of_batch
from export.recipe import Recipe
from export.sensitivity import Losses, increase
from export.smoothing import Move

ALL = "all"
ERRORS = 2.0  # of the difference from the whole, to stand out


class Replay:
  """Logs of one split, replayed through models of one shape, float and as a recipe makes them; compiled once.

  Attributes: scene_R: of each record. slices: {name: records, bool [R]}, "domain=highway" and so on.
  """

  def __init__(self, run: Run, moves: Sequence[Move], split: str, records: int):
    self._moves, twin = moves, Adjustable(_smoothed(run, moves))
    self._measure = record_losses(run.task, run.params, run.weights, twin)
    self._batches, self.scene_R = scene_batches(run, split, records)
    axes = [name for name, (shape, _) in run.dataset.config.spec.items() if shape == () and name != "scene"]
    source = reader.RecordSource(run.dataset, split, axes, limit=len(self.scene_R))
    self.slices = slices(reader.labels(source, axes), {"domain": run.dataset.domains})

  def losses(self, run: Run, recipe: Recipe) -> Losses:
    """(sums [R], counts [R]) of a run of the shape that this was made for; an empty recipe: in float."""
    exported = _smoothed(run, self._moves)
    return self._measure(Adjustable(exported).settings(recipe), self._batches, exported.weights)["loss"]


def _smoothed(run: Run, moves: Sequence[Move]) -> Exportable:
  return smoothing.smoothed(of_batch(*runs.deployed(run)), moves)


def slices(labels: Labels, names: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
  """Every value of every axis that has several, as a mixture names it; ALL first."""
  found = {ALL: np.ones(len(next(iter(labels.values()))), bool)}
  for axis, label_R in labels.items():
    values = np.unique(label_R).tolist()
    for value in values if len(values) > 1 else []:
      text = f"{axis}={names[axis][value] if axis in names else value}"
      found[text] = members(text, labels, names)
  return found


@dataclasses.dataclass(frozen=True)
class Gap:
  """Of one slice: nats per token that `compressed` loses over `full`, its error over scenes; records; stands_out."""

  nats: float
  error: float
  records: int
  stands_out: bool


def gaps(replay: Any, compressed: Losses, full: Losses) -> dict[str, Gap]:
  """By slice. The difference of a slice from the others is tested, which has no record in common with it."""
  found = {}
  for name, inside_R in replay.slices.items():
    nats, error = _increase(compressed, full, replay.scene_R, inside_R)
    out = False
    if not inside_R.all():
      rest, rest_error = _increase(compressed, full, replay.scene_R, ~inside_R)
      out = bool(nats - rest > ERRORS * np.hypot(error, rest_error))
    found[name] = Gap(nats, error, int(inside_R.sum()), out)
  return found


def _increase(
  after: Losses, before: Losses, scene_R: np.ndarray, inside_R: np.ndarray
) -> tuple[float, float]:
  (a, n), (b, m) = after, before
  return increase((a[inside_R], n[inside_R]), (b[inside_R], m[inside_R]), scene_R[inside_R])


def boosts(found: Mapping[str, Gap], factor: float) -> str:
  """Of the slices that stand out, as a mixture reads it (data/mixtures.py)."""
  return ";".join(f"{name}*{factor:g}" for name, gap in found.items() if gap.stands_out)
