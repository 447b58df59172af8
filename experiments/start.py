"""Beginning with the weights of a finished run: what is carried over, by name and shape, and what is not.

A base deploys whole weights (`Task.weights`), so that a run may start from one that was adapted or taught: of one that
an average of its weights teaches, from the average. They go where the fresh state has the same names: into the base of
low-rank deltas, into student and teacher alike.
"""

import dataclasses
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from data.errors import BadInput
from experiments.setup import Setup
from experiments.tasks.distillation import TAUGHT_BY

# Trees inside a tree of parameters that hold the same things under every objective of a family.
_HOMES = ("base", "student", "teacher", "encoder", "perception")


@dataclasses.dataclass(frozen=True)
class Carried:
  """Names of weights: carried over, fresh (the base has none such), resized (fresh, as shapes differ), left behind."""

  carried: list[str]
  fresh: list[str]
  resized: list[str]
  left: list[str]

  def sentence(self) -> str:
    counts = (
      f"{len(self.carried)} weights carried over, {len(self.fresh)} fresh, {len(self.left)} left behind"
    )
    return counts + (f", {len(self.resized)} of another shape made anew" if self.resized else "")


def compare(fresh: dict[str, Any], base: dict[str, Any], other_shapes: str) -> Carried:
  """What goes where; trees of arrays or of shapes.

  Raises BadInput when nothing agrees, and for another shape unless `other_shapes` is "fresh".
  """
  wanted, given = flatten_dict(fresh), _named(base)
  found = Carried([], [], [], [])
  for path, leaf in wanted.items():
    own, name = _own(path), "/".join(path)
    if own not in given:
      found.fresh.append(name)
    elif given[own].shape == leaf.shape:
      found.carried.append(name)
    elif other_shapes == "fresh":
      found.resized.append(name)
    else:
      what = f"{name} has shape {list(given[own].shape)} there, {list(leaf.shape)} here"
      raise BadInput(
        what, "config.start.run", "start from a run of this shape, or set start.other_shapes=fresh"
      )
  if not found.carried:
    raise BadInput("no weight has a name of this model's", "config.start.run", "start from a run of its kind")
  taken = {_own(path) for path in wanted}
  found.left.extend("/".join(path) for path in given if path not in taken)
  return found


def insert(fresh: dict[str, Any], base: dict[str, Any], carried: Carried) -> dict[str, Any]:
  """`fresh` with what is carried, placed on the mesh as it was; the rest keeps every bit."""
  leaves, given = flatten_dict(fresh), _named(base)
  for path in [path for path in leaves if "/".join(path) in set(carried.carried)]:
    leaves[path] = jax.device_put(given[_own(path)], leaves[path].sharding)
  return unflatten_dict(leaves)


def taught_by(setup: Setup, teacher: dict[str, Any]) -> Setup:
  """The setup whose fresh state has `teacher` in the teacher's place; experiments/tasks/distillation.py."""
  carried = compare({TAUGHT_BY: setup.spec["params"][TAUGHT_BY]}, {TAUGHT_BY: teacher}, "refuse")

  def init(key):
    state = setup.init(key)
    return state | {"params": insert(state["params"], {TAUGHT_BY: teacher}, carried)}

  return dataclasses.replace(setup, init=init)


def starting_from(setup: Setup, base: dict[str, Any]) -> tuple[Setup, Carried]:
  """The setup whose fresh state begins with `base`, whole weights on one device."""
  carried = compare(setup.spec["params"], base, setup.config.start.other_shapes)

  def init(key):
    state = setup.init(key)
    return state | {"params": insert(state["params"], base, carried)}

  return dataclasses.replace(setup, init=init), carried


def _named(base: dict[str, Any]) -> dict[tuple[str, ...], Any]:
  return {_own(path): leaf for path, leaf in flatten_dict(base).items()}


def _own(path: tuple[str, ...]) -> tuple[str, ...]:
  """The path within the family's own tree."""
  while path[0] in _HOMES and len(path) > 1:
    path = path[1:]
  return path
