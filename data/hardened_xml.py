"""XML from strangers: parsed without DTD, entities or external references, and read with named errors.

Every accessor takes `where` ("file: element") and raises BadInput with it, so that a user finds the line.
"""

import os
import pathlib
import xml.etree.ElementTree as etree  # for its types; parsing is defusedxml's

from data.errors import BadInput

Element = etree.Element

MAX_BYTES = 256 * 2**20
FIX = "repair the file or take it out of the directory"


def parse(path: os.PathLike | str, root_tag: str) -> Element:
  """The root of a file, which must be `root_tag`; anything hostile, broken or huge raises BadInput."""
  import defusedxml
  import defusedxml.ElementTree

  try:
    if pathlib.Path(path).stat().st_size > MAX_BYTES:
      raise BadInput(f"larger than {MAX_BYTES >> 20} MiB", path, "cut the file into pieces")
    root = defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
  except BadInput:
    raise
  except OSError as error:
    raise BadInput(f"not readable ({error.strerror})", path, "check the path") from None
  except defusedxml.DefusedXmlException as error:
    raise BadInput(
      f"declares a DTD or entities ({type(error).__name__})", path, "remove the DOCTYPE declaration"
    ) from None
  except (etree.ParseError, LookupError, ValueError) as error:
    raise BadInput(f"is not well-formed XML ({error})", path, "fetch the file again") from None
  if root.tag != root_tag:
    raise BadInput(f"root element is <{root.tag[:40]}>, not <{root_tag}>", path, "give files of this format")
  return root


def child(parent: Element, tag: str, where: object) -> Element:
  """The first descendant at the path `tag`."""
  found = parent.find(tag)
  if found is None:
    raise BadInput(f"has no <{tag}>", where, FIX)
  return found


def number(text: str | None, where: object) -> float:
  """A finite number below 1e12, from text or attribute (None: absent)."""
  try:
    value = float(text if text is not None else "")
  except ValueError:
    raise BadInput(f"{(text or 'nothing')[:40]!r} is not a number", where, FIX) from None
  if not abs(value) < 1e12:
    raise BadInput(f"{value} is not a finite number", where, FIX)
  return value


def identity(element: Element, attribute: str, where: object) -> int:
  """A whole number in an attribute such as id or ref."""
  value = number(element.get(attribute), f"{where}, <{element.tag}> {attribute}")
  if value != int(value):
    raise BadInput(f"{attribute} {value} is not a whole number", f"{where}, <{element.tag}>", FIX)
  return int(value)


def word(parent: Element, tag: str, default: str) -> str:
  """The trimmed text at the path `tag`, or `default` where it is absent or empty."""
  return (parent.findtext(tag) or "").strip() or default
