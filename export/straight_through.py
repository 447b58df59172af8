"""A task whose model answers with quantised products while it learns: quantisation-aware training.

Every product is made of the integers of export/reference.py, so that what is trained is the artifact itself, whatever
its recipe: sites left in float, weights of 4 bits, smoothed inputs. Gradients pass the rounding as if it were not
there, and stop where an activation is clipped: Y. Bengio et al., arXiv:1308.3432; B. Jacob et al., arXiv:1712.05877.

Weights learn in float, unsmoothed: a run that has been trained so is a run like any other.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from data.errors import BadInput
from export import quantisers
from export.canonical import RULES
from export.exportable import Exportable
from export.interpreter import Traced, evaluate, trace
from export.judge import is_whole
from export.recipe import Recipe
from export.reference import activation
from export.smoothing import Move, scaled_weights, smoothed


def quantised_task(task: Any, exported: Exportable, moves: Sequence[Move], recipe: Recipe) -> Any:
  """The task with every call of its model answered by the quantised twin of the weights of that call.

  Args: exported: task.model with its layers unrolled, as it is deployed.

  The loss raises BadInput when it never calls the model as a whole.
  """
  answer = twin(exported, moves, recipe)
  asked: list[str] = []

  def speak(next_call, args, kwargs, context):
    if not is_whole(task.model, context):
      return next_call(*args, **kwargs)
    asked.append(context.method_name)
    weights = nn.unbox(context.module.variables["params"])
    form = jax.tree.structure(jax.eval_shape(lambda: next_call(*args, **kwargs)))
    batch = {name: args[0][name][:, None] for name in exported.inputs}  # records, each a batch of one
    with jax.transfer_guard("allow"):  # constants of the graph are worked out while it is traced
      answers = jax.vmap(lambda record: answer(weights, record))(batch)
    return jax.tree.unflatten(form, [value[:, 0] for value in answers])

  def speaking(loss_fn: Callable) -> Callable:
    def loss(params, batch, key):
      with nn.intercept_methods(speak):
        told = loss_fn(params, batch, key)
      if not asked:
        raise BadInput(
          "its loss never calls its model as a whole", "the run", "nothing of it would be quantised"
        )
      return told

    return loss

  return dataclasses.replace(task, loss_fn=speaking(task.loss_fn), held_out=speaking(task.held_out))


def twin(exported: Exportable, moves: Sequence[Move], recipe: Recipe) -> Callable:
  """(weights, arrays by name) -> outputs in the order of their names, differentiable by the weights."""
  smooth = smoothed(exported, moves)
  traced = trace(smooth.function, smooth.weights, tuple(smooth.example.values()))
  paths = [own for _, own in traced.weights]

  def site(x, weight_KxN, name):
    own = recipe.of(name)
    if own.at is not None:
      low, high = ((end - own.at.zero) * own.at.scale for end in (own.at.grid.low, own.at.grid.high))
      x = _straight(jnp.clip(x, low, high), activation(x, own))
    elif own.activation != "float":
      x = _straight(x, activation(x, own))
    if own.bits < 32:
      weight_KxN = _straight(weight_KxN, _weight_round_trip(weight_KxN, own.bits))
    return jnp.matmul(x, weight_KxN)

  def answer(weights: Any, arrays: dict[str, jax.Array]) -> list[jax.Array]:
    leaves = jax.tree.leaves(scaled_weights(weights, moves))
    of_these = Traced(traced.jaxpr, tuple(zip(leaves, paths, strict=True)))
    return evaluate(of_these, tuple(arrays[name] for name in exported.inputs), RULES, site)

  return answer


def _straight(x: jax.Array, rounded: jax.Array) -> jax.Array:
  """`rounded`, with the gradient of x."""
  return x + jax.lax.stop_gradient(rounded - x)


def _weight_round_trip(weight_KxN: jax.Array, bits: int) -> jax.Array:
  """quantisers.weight_round_trip of a weight that is being learned."""
  grid = quantisers.WEIGHTS[bits]
  scale_N = jnp.maximum(jnp.abs(weight_KxN).max(0) / grid.high, quantisers.LEAST_SCALE)[None]
  return jnp.clip(jnp.round(weight_KxN / scale_N), grid.low, grid.high) * scale_N
