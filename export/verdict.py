"""What an export says of each of its artifacts, or why it does not ship it.

The model in float, each quantised twin and each artifact are asked once for every held-out record; distances and the
run's own loss are of these answers.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from data.errors import BadInput
from export import budget, judge, smoothing
from export.calibration import fingerprint
from export.onnx_capture import MERGED
from export.recipe import Recipe
from export.reference import reference
from export.runtimes import Answer
from export.targets import Parts, Target

# Relative L2. Of what is not quantised, on every record.
FLOAT_PARITY = 1e-5
# Of what is, from its twin in JAX: of the middle record, and ten times that in the mean. Rounding may toss one integer
# of one record the other way, which a narrow model shows in its answer.
TWIN_PARITY = 1e-3


class Verdicts:
  """Of artifacts of one run.

  metric, by_slice: the run's held-out loss with its deployed weights in float, and the same by domain.

  Raises BadInput when that loss is not finite, or the model answers otherwise once its outliers have been moved.
  """

  def __init__(self, run, parts: Parts, records: Sequence[Mapping[str, np.ndarray]]):
    self._run, self._parts, self._records = run, parts, records
    window = parts.window
    call = jax.jit(lambda *arrays: window.function(window.weights, *arrays))
    self._truth = [call(*(record[name] for name in window.inputs)) for record in records]
    self._twins: dict[str, list] = {}
    self.metric, self.by_slice = self._loss(self._truth)
    if not np.isfinite([self.metric, *self.by_slice.values()]).all():
      what = f"has a held-out loss of {self.metric}, by domain {self.by_slice}"
      raise BadInput(what, run.path, "export another checkpoint")
    if parts.moves:
      smooth = smoothing.smoothed(window, parts.moves)
      moved = jax.jit(lambda *arrays: smooth.function(smooth.weights, *arrays))
      told = [moved(*(record[name] for name in window.inputs)) for record in records]
      apart = max(_distances(told, self._truth))
      if not apart < smoothing.UNCHANGED:
        what = f"change the model: one of its answers is {apart:.2g} from what it was"
        raise BadInput(what, "the moves of its outliers", "export with --smooth=none")

  def of(self, target: Target, answer: Answer) -> dict[str, Any]:
    """Distances from the float model and from the quantised twin, and the loss with this artifact as the model.

    Raises ValueError for one that answers otherwise than it should, or nothing that is a number, or of which nothing is
    quantised that ought to be.
    """
    recipe = target.recipe(self._parts)
    if recipe is not None and all(site.bits == 32 for site in recipe.sites.values()):
      raise ValueError("none of its products is quantised")
    answer = self._parts.to_records(answer)
    said = [answer(record) for record in self._records]
    apart = _distances(said, self._truth)
    from_twin = _distances(said, self._twin(recipe)) if recipe else apart
    if told := untrue(from_twin, recipe is not None):
      raise ValueError(told)
    metric, slices = self._loss(said)
    if not np.isfinite([metric, *slices.values()]).all():
      raise ValueError(f"its loss is {metric}")
    return {
      "relative_l2": float(np.mean(apart)),
      "worst_sample": float(np.max(apart)),
      "relative_l2_to_twin": float(np.mean(from_twin)),
      "metric": metric,
      "metric_by_slice": slices,
      "metric_fp32": self.metric,
      "metric_fp32_by_slice": self.by_slice,
      "quantised_share": quantised_share(self._parts.graph, recipe) if recipe else 0.0,
      "recipe": recipe.to_json() if recipe else None,
      "calibration_fingerprint": recipe.calibration.get("fingerprint") if recipe else None,
    }

  def _twin(self, recipe: Recipe) -> list:
    key = json.dumps(recipe.to_json(), sort_keys=True)
    if key not in self._twins:
      twin = self._parts.to_records(reference(self._parts.exported, recipe))
      self._twins[key] = [twin(record) for record in self._records]
    return self._twins[key]

  def _loss(self, said: Sequence[dict[str, Any]]) -> tuple[float, dict[str, float]]:
    """(held-out loss, the same by domain) with these answers to the records as the model's."""
    run, task = self._run, self._run.task
    loss_fn = judge.answering(task.model, run.weights, self._repeating(said), task.held_out)
    whole = {name: np.concatenate([record[name] for record in self._records]) for name in self._records[0]}
    found = judge.totals(loss_fn, run.params, [whole])
    total, count = found["loss"]
    slices = {}
    if "by_domain" in found:
      sums, counts = found["by_domain"]
      slices = {
        name: float(s / n) for name, s, n in zip(run.dataset.domains, sums, counts, strict=True) if n > 0
      }
    return float(total / count), slices

  def _repeating(self, said: Sequence[dict[str, Any]]) -> Answer:
    """record -> what was said to it."""
    names = self._parts.window.inputs

    def key(record: Mapping[str, Any]) -> str:
      return fingerprint([{name: np.asarray(record[name]) for name in names}])

    kept = {key(record): one for record, one in zip(self._records, said, strict=True)}
    return lambda record: kept[key(record)]


def quantised_share(graph: Any, recipe: Recipe) -> float:
  """Of the multiply-adds of a captured model's products, those with weights of few bits."""
  products = [one for one in budget.operators(graph, recipe) if one.kind in ("MatMul", "Gemm")]
  few = [one.operations for one in products if recipe.of(one.name.split(MERGED)[0]).bits < 32]
  return sum(few) / max(sum(one.operations for one in products), 1)


def untrue(from_twin: Sequence[float], quantised: bool) -> str:
  """In words, how an artifact with these distances answers otherwise than it should; empty: it does not."""
  if not quantised:
    off, bound, which = float(np.max(from_twin)), FLOAT_PARITY, "on its worst record"
  elif np.median(from_twin) > TWIN_PARITY:
    off, bound, which = float(np.median(from_twin)), TWIN_PARITY, "on its middle record"
  else:
    off, bound, which = float(np.mean(from_twin)), 10 * TWIN_PARITY, "in the mean"
  return (
    "" if off <= bound else f"it answers otherwise than it should: {off:.2g} {which}, more than {bound:g}"
  )


def _distances(said: Sequence, expected: Sequence) -> list[float]:
  return [judge.distance(one, other) for one, other in zip(said, expected, strict=True)]
