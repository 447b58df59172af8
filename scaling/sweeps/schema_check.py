"""Strict checks of documents for other programs: an unknown key is a mistake, and named with its nearest neighbour."""

import difflib
from collections.abc import Mapping
from typing import Any

from data.errors import BadInput

TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
NATURAL: dict[str, Any] = {"type": "integer", "minimum": 0}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
TRUTH: dict[str, Any] = {"type": "boolean"}


def closed(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
  """JSON Schema of an object with these keys and no others."""
  return {
    "type": "object",
    "properties": {**required, **optional},
    "required": list(required),
    "additionalProperties": False,
  }


def texts(*names: str) -> dict[str, Any]:
  """JSON Schema of an object that maps some of `names` to texts."""
  return closed({}, **{name: TEXT for name in names})


def listed(items: Mapping[str, Any]) -> dict[str, Any]:
  """JSON Schema of a list with at least one item."""
  return {"type": "array", "items": items, "minItems": 1}


def check(document: Any, schema: Mapping[str, Any], where: object) -> None:
  """Raises BadInput that names the place and the nearest key when `document` is not what `schema` says."""
  import jsonschema

  errors = list(jsonschema.Draft202012Validator(schema).iter_errors(document))
  if not errors:
    return
  # A misspelt key is also a missing one; its name says more.
  error = min(errors, key=lambda e: (e.validator != "additionalProperties", len(e.absolute_path)))
  place = ".".join(str(part) for part in error.absolute_path)
  if error.validator == "additionalProperties":
    known = error.schema["properties"]
    name = next(key for key in error.instance if key not in known)
    near = difflib.get_close_matches(str(name), known, 1)
    remedy = f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}"
    raise BadInput(f"unknown key {f'{place}.{name}'.lstrip('.')!r}", where, remedy)
  raise BadInput(f"{place or 'the document'}: {error.message}", where, "correct it")
