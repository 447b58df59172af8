"""A recipe with the moves that come before it, as a file: export.allocate makes it, builds and fine-tuning obey it."""

import dataclasses
import hashlib
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from data.errors import BadInput
from data.files import canonical_json, read_json, write_json_atomic
from export.adjustable import Adjustable
from export.exportable import Exportable
from export.interpreter import path_name
from export.recipe import Recipe
from export.smoothing import INPUT, Move

_REMEDY = "make it with export.allocate"


def as_json(recipe: Recipe, moves: Sequence[Move]) -> dict[str, Any]:
  return {"recipe": recipe.to_json(), "smoothing": [dataclasses.asdict(move) for move in moves]}


def read(path: os.PathLike | str) -> tuple[Recipe, list[Move]]:
  """Raises BadInput for a file that holds no recipe."""
  found = read_json(pathlib.Path(path), _REMEDY)
  try:
    return Recipe.from_json(found["recipe"]), [Move.from_json(move) for move in found["smoothing"]]
  except (KeyError, TypeError, ValueError) as error:
    raise BadInput(f"holds no recipe ({error})", path, _REMEDY) from None


def check(exported: Exportable, recipe: Recipe, moves: Sequence[Move]) -> None:
  """Raises BadInput that names the first product or weight that `exported` lacks, or that a move does not fit."""
  sites = Adjustable(exported).weights
  if strange := sorted(set(recipe.sites) - set(sites)):
    raise BadInput(f"quantises {strange[0]!r}, which the model has not", "the recipe", _REMEDY)
  shapes = {path_name(path): leaf.shape for path, leaf in jax.tree.flatten_with_path(exported.weights)[0]}
  shapes |= {INPUT + name: value.shape for name, value in exported.example.items()}
  for move in moves:
    for name, first, last in (*move.divided, *move.multiplied):
      own = shapes.get(name)
      # Of an input the last axis is divided, however many there are.
      axes = own and (own[-1:] if name.startswith(INPUT) else own[first : last + 1])
      if not axes or math.prod(axes) != len(move.scale):
        raise BadInput(
          f"moves {len(move.scale)} channels of {name!r}, which has {axes}", "the recipe", _REMEDY
        )


def fingerprint(recipe: Recipe, moves: Sequence[Move]) -> str:
  """SHA-256 of what the file says."""
  return hashlib.sha256(canonical_json(as_json(recipe, moves)).encode()).hexdigest()


def keep(path: pathlib.Path, recipe: Recipe, moves: Sequence[Move]) -> None:
  """Writes it; BadInput when another one is there."""
  if path.exists() and read(path) != (recipe, list(moves)):
    raise BadInput("is another recipe", path, "give a new --workdir")
  write_json_atomic(path, as_json(recipe, moves))
