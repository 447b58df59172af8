"""A recipe with the moves that come before it, as a file: export.allocate makes it, builds and fine-tuning obey it."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from data.errors import BadInput
from data.files import read_json, write_json_atomic
from export.recipe import Recipe
from export.smoothing import Move

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


def keep(path: pathlib.Path, recipe: Recipe, moves: Sequence[Move]) -> None:
  """Writes it; BadInput when another one is there."""
  if path.exists() and read(path) != (recipe, list(moves)):
    raise BadInput("is another recipe", path, "give a new --workdir")
  write_json_atomic(path, as_json(recipe, moves))
