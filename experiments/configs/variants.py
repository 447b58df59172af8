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
