"""What of a model can go: weights, attention heads, units of MLPs, whole layers; by magnitude, by what the loss
would lose to first order, or at random.

A *group* is a set of like parts of which some stay: (path of a module, logical axis). Along "heads" and "mlp" these are
the heads and hidden units of one module, which the weights' own logical axes name; along "layers" the units of a stack,
`name_0`, `name_1`, .... Scores are {group: [parts]}; the higher, the more a part is needed. Stacks are unrolled.

What a part sends on passes through the weights that end in "embed", its *outlet*: without it the part changes nothing.
A gate on the part has therefore the gradient sum(g w) over its outlet, and closing it changes a batch's loss by
-sum(g w) to first order: P. Molchanov et al., "Importance Estimation for Neural Network Pruning", arXiv:1906.10771.
Heads: P. Michel et al., "Are Sixteen Heads Really Better than One?", arXiv:1905.10650.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

AXES = ("heads", "mlp")
METHODS = ("magnitude", "taylor", "random")

Path = tuple[str, ...]
Group = tuple[Path, str]
Scores = dict[Group, jax.Array]
_STACKED = re.compile(r"(pair|unit)_(\d+)")


def axes_of(boxed: Any) -> dict[Path, tuple]:
  """{path: logical axes} of parameters as `init` gives them, boxed."""
  return {path: box.names for path, box in flatten_dict(boxed).items()}


def magnitude(weights: Any, axes: Mapping[Path, tuple]) -> Scores:
  """Sums of squares over all weights of a part."""
  return _sums(jax.tree.map(jnp.square, weights), axes, outlets=False)


def taylor(weights: Any, gradients: Any, axes: Mapping[Path, tuple]) -> Scores:
  """|sum(g w)| over the outlet of a part: what a batch's loss changes by without it, to first order.

  Over several batches, the mean of what each says (`mean`): gradients of a trained model cancel over all of them.
  """
  found = _sums(jax.tree.map(jnp.multiply, weights, gradients), axes, outlets=True)
  return {group: jnp.abs(score) for group, score in found.items()}


def drawn(weights: Any, axes: Mapping[Path, tuple], key: jax.Array) -> Scores:
  """Uniform, for what a choice is worth."""
  found = magnitude(weights, axes)
  keys = jax.random.split(key, len(found))
  return {
    group: jax.random.uniform(own, score.shape)
    for own, (group, score) in zip(keys, found.items(), strict=True)
  }


def mean(scores: list[Scores]) -> Scores:
  return {group: jnp.stack([one[group] for one in scores]).mean(0) for group in scores[0]}


def prune(
  weights: Any, axes: Mapping[Path, tuple], shapes: Any, scores: Scores
) -> tuple[Any, dict[Group, list[int]]]:
  """(the parts of highest score, as the weights of a smaller model; which of each group these were, in order).

  Args: shapes: the smaller model's parameters, or their shapes.

  Raises ValueError where the smaller model differs in anything else than numbers of heads, MLP units and layers.
  """
  given, wanted = flatten_dict(weights), flatten_dict(shapes)
  kept: dict[Group, list[int]] = {}
  for group, score in scores.items():
    stack, axis = group
    here = {_layer(path, stack) for path in wanted} - {None}
    if axis == "layers" and 0 < len(here) < len(score):
      kept[group] = _best(score, len(here))
  made = {}
  for path, target in wanted.items():
    source = _before(path, kept)
    if source not in given or given[source].ndim != len(target.shape):
      raise ValueError(f"{'/'.join(path)} is no part of the larger model")
    leaf = given[source]
    for place, (name, size, whole) in enumerate(zip(axes[source], target.shape, leaf.shape, strict=True)):
      if size == whole:
        continue
      group = source[:-1], name
      if group not in scores or size > whole:
        raise ValueError(f"{'/'.join(path)} has {whole} of {name} in the larger model, {size} in the smaller")
      leaf = jnp.take(leaf, jnp.asarray(kept.setdefault(group, _best(scores[group], size))), axis=place)
    made[path] = leaf
  return unflatten_dict(made), kept


def sparse(weights: Any, axes: Mapping[Path, tuple], importance: Any, share: float) -> Any:
  """Weights of which a share is zero: the least important of all that lie in heads and MLPs, wherever they are.

  importance: a tree like the weights, such as their squares, or (g w)^2.
  """
  rank = flatten_dict(importance)
  among = [path for path in rank if set(axes[path]) & set(AXES)]
  limit = jnp.quantile(jnp.concatenate([rank[path].ravel() for path in among]), share)
  flat = flatten_dict(weights)
  return unflatten_dict(flat | {path: jnp.where(rank[path] < limit, 0.0, flat[path]) for path in among})


def _sums(values: Any, axes: Mapping[Path, tuple], outlets: bool) -> Scores:
  """Values summed by part of each group."""
  found: Scores = {}
  layers: dict[Group, dict[int, jax.Array]] = {}
  for path, value in flatten_dict(values).items():
    names = axes[path]
    if outlets and not (set(names) & set(AXES) and names[-1] == "embed"):
      continue
    for place, name in enumerate(names):
      if name in AXES:
        own = value.sum([axis for axis in range(value.ndim) if axis != place])
        found[path[:-1], name] = found.get((path[:-1], name), 0.0) + own
    for place, part in enumerate(path):
      if match := _STACKED.fullmatch(part):
        group = (*path[:place], match[1]), "layers"
        stack = layers.setdefault(group, {})
        stack[int(match[2])] = stack.get(int(match[2]), 0.0) + value.sum()
  return found | {group: jnp.stack([stack[i] for i in sorted(stack)]) for group, stack in layers.items()}


def _layer(path: Path, stack: Path) -> int | None:
  """The number of the stack's layer that a path is in."""
  if len(path) < len(stack) or path[: len(stack) - 1] != stack[:-1]:
    return None
  match = _STACKED.fullmatch(path[len(stack) - 1])
  return int(match[2]) if match and match[1] == stack[-1] else None


def _before(path: Path, kept: Mapping[Group, list[int]]) -> Path:
  """Where a weight of the smaller model is in the larger one."""
  for (stack, axis), numbers in kept.items():
    if axis == "layers" and (layer := _layer(path, stack)) is not None:
      return (*path[: len(stack) - 1], f"{stack[-1]}_{numbers[layer]}", *path[len(stack) :])
  return path


def _best(score: jax.Array, count: int) -> list[int]:
  return sorted(int(i) for i in jnp.argsort(-score, stable=True)[:count])
