"""Named parts of a split, by what records say of themselves: "domain=highway|urban,weather=2".

Terms joined by "," must all hold; values joined by "|" are alternatives. A value is a name where the axis has names
(domains), else a whole number.
"""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from data.errors import BadInput

Labels = Mapping[str, np.ndarray]  # axis -> whole numbers [N], one per record
Names = Mapping[str, Sequence[str]]  # axis -> the name of each of its values, where they have names


def members(text: str, labels: Labels, names: Names) -> np.ndarray:
  """bool [N]: the records of the slice `text`; one that is malformed or empty raises BadInput."""
  inside = np.ones(len(next(iter(labels.values()))), bool)
  for term in text.split(","):
    axis, equals, values = (part.strip() for part in term.partition("="))
    if not equals or not values:
      raise BadInput(f"{term.strip()!r} is no axis=value", text, "write as in domain=highway|urban,rare=1")
    known_axis(axis, labels, text)
    wanted = [_value(value.strip(), axis, names, text) for value in values.split("|")]
    inside &= np.isin(labels[axis], wanted)
  if not inside.any():
    raise BadInput("no record is in this slice", text, "choose another")
  return inside


def axes(text: str) -> list[str]:
  """The axes that slices name, joined by ";" and ","."""
  terms = (term.partition("=")[0].strip() for term in text.replace(";", ",").split(","))
  return list(dict.fromkeys(axis for axis in terms if axis))


def known_axis(axis: str, labels: Labels, where: str) -> None:
  """Raises BadInput that names the nearest axis when records do not carry `axis`."""
  if axis not in labels:
    near = difflib.get_close_matches(axis, labels, 1)
    known = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(sorted(labels))}"
    raise BadInput(f"records carry no {axis!r}", where, known)


def _value(value: str, axis: str, names: Names, where: str) -> int:
  if value in names.get(axis, ()):
    return list(names[axis]).index(value)
  if axis not in names and value.isdecimal():
    return int(value)
  known = f"choose one of {', '.join(names[axis])}" if axis in names else "give a whole number"
  raise BadInput(f"{axis} has no value {value!r}", where, known)
