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

  Raises BadInput when nothing agrees, and for another shape unless `other_shapes` is "fresh": what was pruned has the
  shapes of here.
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
  """`fresh` with what is carried; the rest keeps every bit."""
  leaves, given, names = flatten_dict(fresh), _named(base), set(carried.carried)
  return unflatten_dict({p: given[_own(p)] if "/".join(p) in names else leaf for p, leaf in leaves.items()})


def taught_by(setup: Setup, teacher: dict[str, Any]) -> Setup:
  """The setup whose fresh state has `teacher` in the teacher's place; experiments/tasks/distillation.py."""
  given = {TAUGHT_BY: teacher}
  return _beginning(setup, given, compare({TAUGHT_BY: setup.spec["params"][TAUGHT_BY]}, given, "refuse"))


def starting_from(setup: Setup, base: dict[str, Any]) -> tuple[Setup, Carried]:
  """The setup whose fresh state begins with `base`, whole weights on the setup's mesh."""
  carried = compare(setup.spec["params"], base, setup.config.start.other_shapes)
  return _beginning(setup, base, carried), carried


def _beginning(setup: Setup, base: dict[str, Any], carried: Carried) -> Setup:
  def begin(params, base):
    return insert(params, base, carried)

  # Copies, cut as the state is: steps give up the state's buffers, and a base may be in two places of it.
  placed = jax.tree.map(lambda leaf: leaf.sharding, setup.spec["params"])
  begin = jax.jit(begin, out_shardings=placed, donate_argnums=0)

  def init(key):
    state = setup.init(key)
    return state | {"params": begin(state["params"], base)}

  return dataclasses.replace(setup, init=init)


def _named(base: dict[str, Any]) -> dict[tuple[str, ...], Any]:
  return {_own(path): leaf for path, leaf in flatten_dict(base).items()}


def _own(path: tuple[str, ...]) -> tuple[str, ...]:
  """The path within the family's own tree."""
  while path[0] in _HOMES and len(path) > 1:
    path = path[1:]
  return path
