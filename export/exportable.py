"""What is exported: a function of weights and named arrays, with the shapes it is exported at."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Exportable:
  """function(weights, *inputs) -> {output name: array}.

  Attributes:
    weights: pytree of float32 arrays. example: {input name: array}, in the order of the arguments.
  """

  function: Callable
  weights: Any
  example: dict[str, np.ndarray]

  @property
  def inputs(self) -> tuple[str, ...]:
    return tuple(self.example)

  def __call__(self, arrays: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    return self.function(self.weights, *(arrays[name] for name in self.inputs))

  def outputs(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what it returns, in the order in which JAX flattens them."""
    answer = jax.eval_shape(self.function, self.weights, *self.example.values())
    return {name: answer[name] for name in sorted(answer)}


def called(model: nn.Module) -> Callable:
  """apply(variables, arrays) of a model whose call may ask for more than a batch: see `arguments`."""
  return lambda variables, arrays: model.apply(variables, arrays, *(arrays[name] for name in beside(model)))


def arguments(model: nn.Module, batch: dict, *others: Any) -> dict[str, Any]:
  """What a model is called with as named arrays: the batch's, and others by their name in its call, such as time_B."""
  return dict(batch) | dict(zip(beside(model), others, strict=False))


def beside(model: nn.Module) -> list[str]:
  """Names of what a model must be called with beside a batch."""
  _, _, *others = inspect.signature(type(model).__call__).parameters.values()
  return [one.name for one in others if one.default is one.empty]


def forward(apply: Callable, weights: Any, batch: dict[str, np.ndarray]) -> Exportable:
  """apply({"params": weights}, batch) of the arrays that the model reads; the others are not inputs.

  Raises BadInput for weights that are not finite.
  """
  _require_finite(weights)

  def answer(weights: Any, *arrays: jax.Array) -> dict[str, jax.Array]:
    return named_outputs(apply({"params": weights}, dict(zip(names, arrays, strict=True))))

  names = tuple(sorted(batch))
  names = _read(answer, weights, batch)
  rest = {name: value for name, value in batch.items() if name not in names}

  def function(weights: Any, *arrays: jax.Array) -> dict[str, jax.Array]:
    return named_outputs(apply({"params": weights}, rest | dict(zip(names, arrays, strict=True))))

  return Exportable(function, weights, {name: np.asarray(batch[name]) for name in names})


def named_outputs(answer: Any) -> dict[str, jax.Array]:
  """A model's answer as named arrays: a dict as it is, an array as "logits", a tuple numbered."""
  if isinstance(answer, dict):
    return answer
  if isinstance(answer, tuple):
    return {f"output_{i}": value for i, value in enumerate(answer)}
  return {"logits": answer}


def of_batch(model: nn.Module, weights: Any, batch: dict[str, np.ndarray]) -> Exportable:
  """`forward` of a model that is called with a batch and nothing else; BadInput for another."""
  if others := beside(model):
    what = f"{type(model).__name__} is called with {', '.join(others)} beside a batch"
    raise BadInput(what, "the run", "export.build exports it; its products cannot be asked about one by one")
  return forward(model.apply, weights, batch)


def _read(function: Callable, weights: Any, batch: dict[str, np.ndarray]) -> tuple[str, ...]:
  """The arrays of a batch that a function's result depends on, by name."""
  names = sorted(batch)
  jaxpr = jax.make_jaxpr(function)(weights, *(batch[name] for name in names)).jaxpr
  needed = {atom for atom in jaxpr.outvars if not hasattr(atom, "val")}
  for equation in reversed(jaxpr.eqns):
    if needed & set(equation.outvars):
      needed |= {atom for atom in equation.invars if not hasattr(atom, "val")}
  inputs = jaxpr.invars[-len(names) :]
  return tuple(name for name, atom in zip(names, inputs, strict=True) if atom in needed)


def _require_finite(weights: Any) -> None:
  for path, leaf in jax.tree.flatten_with_path(weights)[0]:
    if not bool(jnp.isfinite(leaf).all()):
      where = "/".join(str(key.key) for key in path)
      raise BadInput("holds a number that is not finite", f"weight {where}", "export another checkpoint")
