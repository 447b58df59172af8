"""An artifact in the model's place: the same loss, on the same records, with another's answers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data.reader import RecordSource
from export.exportable import arguments, beside, called
from export.runtimes import Answer

IMPOSSIBLE = 1e8  # beyond it a logit says "never"; what number it is does not matter


def answering(model: nn.Module, weights: Any, answer: Answer, loss_fn: Callable) -> Callable:
  """loss_fn(params, batch, key) in which `answer` speaks for `model`, record by record; not to be jitted.

  Args: weights: of `model`, for the form of its answers.
  """

  def speak(next_call, args, kwargs, context):
    if not is_whole(model, context):
      return next_call(*args, **kwargs)
    answers = [answer(record) for record in records_of(arguments(model, *args))]
    together = {name: jnp.concatenate([jnp.asarray(one[name]) for one in answers]) for name in answers[0]}
    return jax.tree.unflatten(form[0], [together[name] for name in sorted(together)])

  form: list = []

  def judged(params: Any, batch: Mapping[str, Any], key: jax.Array) -> dict:
    given = heard(model, loss_fn, params, batch)
    form[:] = [jax.tree.structure(jax.eval_shape(lambda: called(model)({"params": weights}, given)))]
    with nn.intercept_methods(speak):
      return loss_fn(params, batch, key)

  return judged


def heard(model: nn.Module, loss_fn: Callable, params: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
  """What a loss calls its model with: the batch, and beside it what is drawn, such as a denoiser's noise and times."""
  found: dict[str, Any] = dict(batch)

  def listen(next_call, args, kwargs, context):
    if is_whole(model, context):
      found.update(arguments(model, *args))
    return next_call(*args, **kwargs)

  if beside(model):
    with nn.intercept_methods(listen):
      loss_fn(params, batch, jax.random.key(0))
  return found


def is_whole(model: nn.Module, context: Any) -> bool:
  """Whether a call is one of the model itself, and no part's."""
  return not context.module.path and type(context.module) is type(model) and context.method_name == "__call__"


def records_of(batch: Mapping[str, Any]) -> list[dict[str, np.ndarray]]:
  """Batches of one record each."""
  whole = {name: np.asarray(value) for name, value in batch.items()}
  return [
    {name: value[i : i + 1] for name, value in whole.items()} for i in range(len(next(iter(whole.values()))))
  ]


def records_of_split(run, split: str, count: int) -> list[dict]:
  """So many records drawn from the whole of a split, each a batch of one."""
  fields = run.task.fields
  there = len(RecordSource(run.dataset, split, fields))
  source = RecordSource(run.dataset, split, fields, limit=min(count, there))
  rows = np.arange(len(source))
  batch = run.task.to_batch(source.stacked(rows) | {"position": rows.astype(np.int32)})
  return records_of(heard(run.task.model, run.task.held_out, run.params, batch))


def distance(answer: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
  """|answer - expected| / |expected| of the output that is furthest off; infinite where either is not finite.

  What is impossible by either must be so by both, and is left out.
  """
  worst = 0.0
  for name, value in expected.items():
    told, other = np.asarray(value, np.float64), np.asarray(answer[name], np.float64)
    real = np.abs(told) < IMPOSSIBLE
    if (
      not (np.isfinite(told).all() and np.isfinite(other).all())
      or ((np.abs(other) < IMPOSSIBLE) != real).any()
    ):
      return float("inf")
    off = float(np.linalg.norm((told - other)[real]))
    worst = max(worst, off / max(float(np.linalg.norm(told[real])), 1e-9))
  return worst


def totals(
  loss_fn: Callable, params: Any, batches: Iterable[Mapping[str, Any]]
) -> dict[str, tuple[Any, Any]]:
  """{metric: (sum, count)} over batches, as `loss_fn` reports them."""
  found: dict[str, tuple[Any, Any]] = {}
  for batch in batches:
    for name, pair in loss_fn(params, batch, jax.random.key(0)).items():
      total, count = (np.asarray(value, np.float64) for value in pair)
      before = found.get(name, (0.0, 0.0))
      found[name] = before[0] + total, before[1] + count
  return found
