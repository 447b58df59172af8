"""Which weights learn: parameters named by their path, the trainable part taken out of a tree and put back.

A weight's name is its path joined by "/" ("pairs/time/attention/q"). A rule is a regular expression that is
searched in it. What a rule leaves out has no gradient, no optimiser state, and does not travel in a round.

Bias-only: E. Ben Zaken et al., "BitFit", arXiv:2106.10199.
"""

import re
from collections.abc import Callable
from typing import Any

import jax

from data.errors import BadInput

BIAS = r"(^|/|_)bias(_\d+)?$"
NORM = r"norm/scale$"
HEAD = r"^heads?(_|/|$)|^bias(_\d+)?$"  # the last table or the heads, and the bias beside the table

Params = dict[str, Any]


def name_of(path: tuple) -> str:
  """A key path of jax.tree_util as "a/b/c"; the box around an annotated weight adds nothing."""
  return "/".join(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))


def rule(pattern: str) -> Callable[[str], bool]:
  """name -> whether `pattern` is found in it; a pattern that is no regular expression raises BadInput."""
  try:
    found = re.compile(pattern).search
  except re.error as error:
    raise BadInput(f"{pattern!r} is no regular expression ({error})", "rule", "correct it") from None
  return lambda name: found(name) is not None


def select(params: Params, trainable: Callable[[str], bool]) -> Params:
  """The leaves whose names are trainable, in a tree without the others; none at all raises BadInput."""
  part = _select(params, trainable, "")
  if not part:
    some = ", ".join(name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)[:4])
    raise BadInput("no weight is trainable", f"a model of {some}, ...", "choose another rule")
  return part


def _select(tree: Params, trainable: Callable[[str], bool], prefix: str) -> Params:
  part: Params = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      if below := _select(value, trainable, f"{prefix}{key}/"):
        part[key] = below
    elif trainable(prefix + key):
      part[key] = value
  return part


def insert(params: Params, part: Params) -> Params:
  """`params` with the leaves of `part` in their places; a leaf without a place raises BadInput."""
  if extra := sorted(part.keys() - params.keys()):
    raise BadInput(f"{extra[0]!r} has no place in the model", "weights to insert", "take them from its kind")
  return {
    key: value if key not in part else insert(value, part[key]) if isinstance(value, dict) else part[key]
    for key, value in params.items()
  }


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
