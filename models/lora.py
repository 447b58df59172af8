"""LoRA: low-rank deltas beside a base that stays as it is. E. Hu et al., arXiv:2106.09685.

  W' = W + (alpha / rank) A B,   A normal with variance 1 / fan-in, B zero: at first nothing changes

A weight here may have three axes, (embed, heads, head_dim) or (heads, head_dim, embed), and a stack of layers one
more before them. A [..., in, rank] and B [..., rank, out] take its sides whole: "embed" alone is one side, what
lies on the other side of it the other; a weight of two axes is (in, out). Logical axes say which is which, so
deltas are made from the annotated tree of `model.init` (or its eval_shape), and are placed on a mesh like it.

The deltas are a tree of their own, {"...": {"q": {"a": A, "b": B}}}. `merge` works inside a loss, hence for every
model and on every mesh, under vmap over sites, and once for export. `unmerged` applies one weight and its delta.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from data.errors import BadInput
from models.trainable import Params, Path

MATRICES = r"/(attention|mlp)/"  # of the blocks: where arXiv:2106.09685, section 7, finds rank best spent
_STACKED = "layers"


def init(key: jax.Array, params: Params, rank: int, match: Callable[[Path], bool]) -> Params:
  """Fresh deltas, annotated, for every weight whose path `match` accepts.

  Args: params: annotated weights or their shapes; the values are not read.

  Raises BadInput when no weight matches, one has no two sides, or `rank` is above what a side can hold.
  """
  deltas = {
    path: _pair(jax.random.fold_in(key, place), "/".join(path), weight, rank)
    for place, (path, weight) in enumerate(flatten_dict(params).items())
    if match(path)
  }
  if not deltas:
    paths = ["/" + "/".join(path) for path in flatten_dict(params)]
    raise BadInput(
      "no weight matches the pattern",
      "low-rank deltas (config.adaptation.match)",
      f"match paths such as {paths[0]} and {paths[-1]}; '{MATRICES}' takes every layer's",
    )
  return unflatten_dict(deltas)


def _pair(key: jax.Array, name: str, weight: Any, rank: int) -> Params:
  """{"a", "b"} of one weight."""
  if not isinstance(weight, nn.LogicallyPartitioned):
    raise BadInput(
      f"{name} does not say its axes", "low-rank deltas", "give the tree that model.init returns"
    )
  names, shape = weight.names, weight.value.shape
  stacked = next(i for i, axis in enumerate((*names, None)) if axis != _STACKED)
  axes = names[stacked:]
  if len(axes) == 2 or (len(axes) > 2 and axes[0] == "embed"):
    inward = 1
  elif len(axes) > 2 and axes[-1] == "embed":
    inward = len(axes) - 1
  else:
    raise BadInput(f"{name} of axes {list(names)} has no two sides", "low-rank deltas", "leave it out")
  cut = stacked + inward
  fan_in, fan_out = math.prod(shape[stacked:cut]), math.prod(shape[cut:])
  if not 1 <= rank <= min(fan_in, fan_out):
    where = f"{name}, {fan_in} to {fan_out}"
    raise BadInput(f"rank is {rank}", where, f"choose 1 to {min(fan_in, fan_out)}, or leave it out")
  a = jax.random.normal(key, (*shape[:cut], rank)) * fan_in**-0.5
  b = jnp.zeros((*shape[:stacked], rank, *shape[cut:]))
  return {
    "a": nn.LogicallyPartitioned(a, (*names[:cut], None)),
    "b": nn.LogicallyPartitioned(b, (*names[:stacked], None, *names[cut:])),
  }


def merge(params: Params, deltas: Params, alpha: float) -> Params:
  """Weights of the base's shapes, W + alpha / rank A B wherever there is a delta; neither tree is annotated.

  Raises BadInput for a delta that has no weight in `params`, or one of another shape.
  """
  return {name: _merged(value, deltas.get(name), alpha, name) for name, value in params.items()} | {
    name: _no_place(name) for name in deltas.keys() - params.keys()
  }


def _merged(value: Any, delta: Params | None, alpha: float, name: str) -> Any:
  if delta is None:
    return value
  if isinstance(value, dict):
    return merge(value, delta, alpha)
  a, b = delta["a"], delta["b"]
  stacked = a.ndim + b.ndim - 2 - value.ndim
  if stacked < 0 or a.shape[:-1] + b.shape[stacked + 1 :] != value.shape:
    what = f"{name} has shape {value.shape}, its delta {a.shape} and {b.shape}"
    raise BadInput(what, "low-rank deltas", "use them with the base they were made for")
  rank = a.shape[-1]
  stack = value.shape[:stacked]
  product = a.reshape(*stack, -1, rank) @ b.reshape(*stack, rank, -1)
  return value + (alpha / rank * product).reshape(value.shape).astype(value.dtype)


def unmerged(x: jax.Array, weight: jax.Array, delta: Params, alpha: float) -> jax.Array:
  """x W' without W': x W + alpha / rank (x A) B, [..., *out] for x [..., *in] and a weight [*in, *out].

  One layer's: of a stack, vmap over x, weight and delta.
  """
  a, b = delta["a"], delta["b"]
  inward, rank = a.ndim - 1, a.shape[-1]
  low = jnp.tensordot(x, a, inward)
  return jnp.tensordot(x, weight, inward) + alpha / rank * jnp.tensordot(low, b, 1)


def _no_place(name: str) -> Any:
  raise BadInput(f"{name!r} is no weight of the base", "low-rank deltas", "use them with their own base")
