"""Which weights learn: parameters named by their path, the trainable part taken out of a tree and put back.

A weight's name is its path joined by "/" ("pairs/time/attention/q"). A rule is a regular expression that is
searched in it. What a rule leaves out has no gradient, no optimiser state, and does not travel in a round.

Bias-only: E. Ben Zaken et al., "BitFit", arXiv:2106.10199.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from data.errors import BadInput

BIAS = r"(^|/|_)bias(_\d+)?$"
NORM = r"norm(_\d+)?/scale$"
# The last table or the heads, and the bias beside the table.
HEAD = r"(^|/)heads?(_|/|$)|^(student/)?bias(_\d+)?$"

Params = dict[str, Any]
Path = tuple[str, ...]  # names from the root of the parameters to a leaf


def rule(pattern: str) -> Callable[[Path], bool]:
  """path -> whether `pattern` is found in its name; a pattern that is no regular expression raises BadInput."""
  try:
    found = re.compile(pattern).search
  except re.error as error:
    raise BadInput(f"{pattern!r} is no regular expression ({error})", "rule", "correct it") from None
  return lambda path: found("/".join(path)) is not None


def select(params: Params, trainable: Callable[[Path], bool]) -> Params:
  """The leaves that learn, boxed or not, in a tree without the others; none at all raises BadInput."""
  leaves = flatten_dict(params)
  part = {path: leaf for path, leaf in leaves.items() if trainable(path)}
  if not part:
    some = ", ".join("/".join(path) for path in list(leaves)[:4])
    raise BadInput("no weight is trainable", f"a model of {some}, ...", "choose another rule")
  return unflatten_dict(part)


def insert(params: Params, part: Params) -> Params:
  """`params` with the leaves of `part` in their places; a leaf without a place raises BadInput."""
  leaves, fresh = flatten_dict(params), flatten_dict(part)
  if extra := sorted("/".join(path) for path in fresh.keys() - leaves.keys()):
    raise BadInput(f"{extra[0]} has no place in the model", "weights to insert", "take them from its kind")
  return unflatten_dict(leaves | fresh)


def nbytes(tree: Any) -> int:
  """Bytes of all arrays (or their shapes) in a tree: of jax.eval_shape(optimizer.init, part), say."""
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def cost(params: Params, part: Params, optimizer_state: Any) -> dict[str, float]:
  """What is trained and kept for it, of arrays or of shapes.

  Returns: "trainable" and "total" weights, "share", "optimizer_bytes", and "round_bytes": what one site sends.
  """
  trained = sum(leaf.size for leaf in jax.tree.leaves(part))
  total = sum(leaf.size for leaf in jax.tree.leaves(params))
  return {
    "trainable": trained,
    "total": total,
    "share": trained / total,
    "optimizer_bytes": nbytes(optimizer_state),
    "round_bytes": nbytes(part),
  }
