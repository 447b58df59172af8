"""The quantised model in JAX: the same integers as an artifact, in float arithmetic.

An artifact that answers otherwise than this is wrong; how far this is from the float model is what quantisation costs,
and by leaving all sites but one float it is told site by site.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from export import quantisers
from export.canonical import RULES
from export.exportable import Exportable
from export.interpreter import evaluate, product, trace
from export.recipe import Recipe, Site


def reference(exported: Exportable, recipe: Recipe) -> Callable:
  """arrays by name -> outputs by name, as `exported` answers with its products made as the recipe says."""
  traced = trace(exported.function, exported.weights, tuple(exported.example.values()))

  def site(x, weight_KxN, name):
    own = recipe.of(name)
    x = activation(x, own)
    if own.bits < 32:
      weight_KxN = quantisers.weight_round_trip(weight_KxN, own.bits)
    return product(x, weight_KxN, name)

  @jax.jit
  def run(*inputs):
    return evaluate(traced, inputs, RULES, site)

  names = tuple(exported.outputs())

  def answer(arrays: dict) -> dict[str, jax.Array]:
    return dict(zip(names, run(*(jnp.asarray(arrays[name]) for name in exported.inputs)), strict=True))

  return answer


def activation(x: jax.Array, own: Site) -> jax.Array:
  """x as a site reads it."""
  if own.at is not None:
    return quantisers.round_trip(x, own.at)
  if own.activation == "dynamic":
    return quantisers.dynamic_round_trip(x)
  if own.activation == "rows":
    return quantisers.row_round_trip(x)
  return x
