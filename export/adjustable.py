"""The quantised twin with its recipe as an argument: compiled once, asked about many recipes.

Every site takes its weights, the grid of its activation and whether that grid holds from outside, so that methods,
bits and sites are compared without a compilation for each. It answers as export/reference.py does.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data.errors import BadInput
from export import quantisers
from export.canonical import RULES
from export.exportable import Exportable
from export.interpreter import Traced, evaluate, product, trace
from export.judge import is_whole
from export.recipe import ACTIVATIONS, Recipe

Settings = dict[str, dict[str, Any]]  # by site


class Adjustable:
  """weights: {site: weight_KxN}, float32."""

  def __init__(self, exported: Exportable):
    self.exported = exported
    self.weights: dict[str, np.ndarray] = {}
    self._traced = trace(exported.function, exported.weights, tuple(exported.example.values()))

    def note(x, weight_KxN, name):
      self.weights[name] = weight_KxN
      return product(x, weight_KxN, name)

    jax.eval_shape(lambda *inputs: evaluate(self._traced, inputs, RULES, note), *exported.example.values())

  def settings(self, recipe: Recipe) -> Settings:
    """A recipe as arrays."""
    found = {}
    for name, weight_KxN in self.weights.items():
      own = recipe.of(name)
      at = own.at or quantisers.Affine(1.0, 0, quantisers.UNSIGNED)
      found[name] = {
        "weight": weight_KxN if own.bits == 32 else quantisers.weight_round_trip(weight_KxN, own.bits),
        "activation": np.int32(ACTIVATIONS.index(own.activation)),
        "scale": np.float32(at.scale),
        "grid": np.asarray([at.zero, at.grid.low, at.grid.high], np.float32),
      }
    return found

  def answer(self, settings: Settings, arrays: Mapping[str, Any], weights: Any = None) -> list:
    """Outputs in the order of their names; of the exported shapes.

    Args: weights: of another model of this shape, whose `settings` these are; None: the exported ones.
    """
    traced = self._traced
    if weights is not None:
      paths = [own for _, own in traced.weights]
      traced = Traced(traced.jaxpr, tuple(zip(jax.tree.leaves(weights), paths, strict=True)))

    def site(x, weight_KxN, name):
      own = settings[name]
      zero, low, high = own["grid"]
      static = (jnp.clip(jnp.round(x / own["scale"]) + zero, low, high) - zero) * own["scale"]
      kinds = {"static": static, "dynamic": quantisers.dynamic_round_trip(x), "float": x}
      kinds["rows"] = quantisers.row_round_trip(x)
      chosen = kinds[ACTIVATIONS[-1]]
      for i, kind in enumerate(ACTIVATIONS[:-1]):
        chosen = jnp.where(own["activation"] == i, kinds[kind], chosen)
      return jnp.matmul(chosen, own["weight"])

    return evaluate(traced, tuple(arrays[name] for name in self.exported.inputs), RULES, site)


def record_losses(task: Any, params: Any, weights: Any, twin: Adjustable) -> Callable:
  """(settings, batches, deployed) -> {metric: (sum [R], count [R])} of the task's held-out loss, record by record.

  Compiled once: runs of one shape are asked about one after the other, by `deployed` (weights) and settings of theirs.

  Args: weights: of the task's model, for the form of its answers.

  Raises BadInput for a loss that compares the records of a batch: none of them has one of its own.
  """
  if task.compares:
    raise BadInput("its loss compares the records of a batch", "the run", "judge it by a probe")

  def one(settings, deployed, record):
    batch = {name: value[None] for name, value in record.items()}
    form = jax.tree.structure(jax.eval_shape(lambda: task.model.apply({"params": weights}, batch)))

    def speak(next_call, args, kwargs, context):
      if not is_whole(task.model, context):
        return next_call(*args, **kwargs)
      return jax.tree.unflatten(form, twin.answer(settings, args[0], deployed))

    with nn.intercept_methods(speak):
      return task.held_out(params, batch, jax.random.key(0))

  many = jax.jit(
    lambda settings, deployed, batch: jax.vmap(lambda record: one(settings, deployed, record))(batch)
  )

  def measure(
    settings: Settings, batches: Iterable[Mapping[str, Any]], deployed: Any = None
  ) -> dict[str, tuple]:
    deployed = twin.exported.weights if deployed is None else deployed
    told = [jax.tree.map(np.asarray, many(settings, deployed, dict(batch))) for batch in batches]
    return jax.tree.map(lambda *parts: np.concatenate(parts).astype(np.float64), *told)

  return measure
