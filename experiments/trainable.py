"""Parameters in two parts: those that learn, and the rest. Only the first get gradients and optimiser state."""

from collections.abc import Callable
from typing import Any

from flax import traverse_util


def split(params: dict[str, Any], trainable: Callable[[tuple[str, ...]], bool]) -> tuple[dict, dict]:
  """(those that learn, the rest): nested dicts that hold only their own leaves, boxed or not."""
  leaves = traverse_util.flatten_dict(params)
  parts = (
    {path: leaf for path, leaf in leaves.items() if trainable(path) == wanted} for wanted in (True, False)
  )
  first, second = (traverse_util.unflatten_dict(part) for part in parts)
  return first, second


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
  """The inverse of `split`."""
  return traverse_util.unflatten_dict(traverse_util.flatten_dict(first) | traverse_util.flatten_dict(second))
