"""A run ready to be asked what it loses when its products are made of few bits."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from data.reader import RecordSource
from export import calibration, judge, onnx_capture, sensitivity, smoothing
from export.adjustable import Adjustable, record_losses
from export.exportable import of_batch
from export.recipe import Recipe, Site

_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A run ready to be asked about recipes. candidates: what a product can be made as, by name."""

  run: Any
  twin: Any
  weights: Any
  observed: dict
  groups: list
  candidates: dict
  moves: list

  def losses(self, batches: list[dict]) -> Callable:
    """recipe -> (sums, counts) of the records' loss."""
    measure = record_losses(self.run.task, self.run.params, self.weights, self.twin)
    return lambda recipe: measure(self.twin.settings(recipe), batches)["loss"]


def prepare(
  run: Any, deployed: tuple[Any, Any, Any], split: str, calibrate: int, method: str, smooth: str
) -> Prepared:
  """Smoothed, captured for its products, calibrated. deployed: of the run, as of experiments.run."""
  model, weights, example = deployed
  exported = of_batch(model, weights, example)
  calibrating = judge.records_of_split(run, split, calibrate)
  moves = [] if smooth == "none" else smoothing.plan(exported, calibrating, smooth == "inputs")
  exported = smoothing.smoothed(exported, moves)
  groups = sensitivity.products(onnx_capture.capture(exported))
  observed = calibration.observe(exported, calibrating)
  notes = {"dataset": run.dataset.fingerprint, "split": split, "records": len(calibrating)}
  eight = calibration.static_recipe(observed, method, False, 8, notes)
  candidates = {"int8": eight} | {
    f"int{bits} weights alone": Recipe(dict.fromkeys(eight.sites, Site(bits, "float")), notes)
    for bits in (8, 4)
  }
  return Prepared(run, Adjustable(exported), run.weights, observed, groups, candidates, moves)


def scene_batches(run: Any, split: str, count: int) -> tuple[list[dict], np.ndarray]:
  """(batches, the scene of each record) of records drawn from the whole of a split."""
  there = len(RecordSource(run.dataset, split, ("scene",)))
  fields = tuple(dict.fromkeys((*run.task.fields, "scene")))
  source = RecordSource(run.dataset, split, fields, limit=min(count, there))
  batches, scenes = [], []
  for start in range(0, len(source), _BATCH):
    rows = np.arange(start, min(start + _BATCH, len(source)))
    stacked = source.stacked(rows)
    scenes.append(stacked["scene"] if "scene" in run.task.fields else stacked.pop("scene"))
    batches.append(run.task.to_batch(stacked | {"position": rows.astype(np.int32)}))
  return batches, np.concatenate(scenes)
