"""What may stand behind the colon of --config=FILE.py:variant."""

import difflib
from collections.abc import Sequence

from data.errors import BadInput


def require(variant: str, known: Sequence[str], where: str) -> None:
  """Raises BadInput that names the nearest of `known` when `variant` is neither one of them nor empty.

  Without it a mistyped variant would run the whole sweep, or another run, without a word.
  """
  if not variant or variant in known:
    return
  near = difflib.get_close_matches(variant, known, 1, 0.5)
  remedy = f"did you mean {near[0]!r}?" if near else f"take one such as {', '.join(known)}, or none"
  raise BadInput(f"has no variant {variant!r}", where, remedy)


def sized(variant: str, names: Sequence[str], where: str) -> tuple[str, str]:
  """(name, size) of "name" or "name:tiny"; without a name the first of `names`. Size is "" or "tiny"."""
  require(variant, ("tiny", *(name + size for name in names for size in ("", ":tiny"))), where)
  name, _, size = (f"{names[0]}:tiny" if variant == "tiny" else variant or names[0]).partition(":")
  return name, size
