"""Results that can be written: what is no number is refused by its name, before a file is."""

import math
from collections.abc import Mapping
from typing import Any

from data.errors import BadInput


def require_finite(result: Mapping[str, Any], run: object) -> None:
  """Raises BadInput that names the first number of nested mappings and lists that is not finite, and whose it is."""
  for path, value in _numbers(result, ""):
    if not math.isfinite(value):
      raise BadInput(f"{path} is {value}", run, "its weights have diverged: give another run")


def _numbers(value: Any, path: str):
  """(path, number) of every float below."""
  if isinstance(value, float):
    yield path, value
  elif isinstance(value, Mapping | list | tuple):
    for name, one in value.items() if isinstance(value, Mapping) else enumerate(value):
      yield from _numbers(one, f"{path}/{name}" if path else str(name))
