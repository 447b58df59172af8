"""The points of a sweep: what each sets in the configuration, and what it says about its trial.

A point is a flat dict of overrides such as {"model.width": 32, "tokens": 400_000, "seed": 1}. Keys that begin with
"trial." describe the trial, not the run, and are no part of its identity:

  trial.flops      expected training FLOPs; orders the trials, weighs the progress
  trial.retries    how many faults are forgiven
  trial.max_hours  wall-clock limit of one start
  trial.resources  {"accelerator": "v6e", "topology": "4x4", "hosts": 4}: the slice it needs in a cloud
"""

import dataclasses
import difflib
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from data.errors import BadInput

RETRIES = 2
KEYS = ("trial.flops", "trial.retries", "trial.max_hours", "trial.resources")


@dataclasses.dataclass(frozen=True)
class Resources:
  """The slice a trial needs: chip ("v5e", "v5p", "v6e"), chips along each axis ("4x4"), machines it is made of."""

  accelerator: str
  topology: str
  hosts: int


@dataclasses.dataclass(frozen=True)
class About:
  """What a point says about its trial; see the module's list."""

  flops: float
  retries: int
  max_hours: float | None
  resources: Resources | None


def read_points(path: os.PathLike | str) -> list[dict[str, Any]]:
  """A JSON list of points, as sweep() of a config file would return them.

  Raises BadInput for anything else, a key that is given twice, NaN and infinity among them.
  """
  remedy = 'write a list of points such as {"model.width": 32, "seed": 1, "trial.flops": 1e12}'

  def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
      raise BadInput(f"key {twice!r} is given twice in one point", path, "drop one")
    return dict(pairs)

  def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")

  try:
    text = pathlib.Path(path).read_text(encoding="utf-8")
    points = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
  except FileNotFoundError:
    raise BadInput("no such file", path, "give --points=FILE.json") from None
  except BadInput:
    raise
  except (OSError, ValueError) as error:
    raise BadInput(f"not readable as JSON ({error})", path, remedy) from None
  if not isinstance(points, list):
    raise BadInput(f"holds a {type(points).__name__}, not a list", path, remedy)
  for number, point in enumerate(points):
    if not isinstance(point, dict):
      raise BadInput(f"point {number} is a {type(point).__name__}, not an object", path, remedy)
    for key, value in point.items():
      if isinstance(value, list | dict | None) and key != "trial.resources":
        what = f"{key} is {json.dumps(value)}, not a number, a text or a truth value"
        raise BadInput(what, f"{path} point {number}", "name nested keys with dots: model.width")
  return points


def divide(point: Mapping[str, Any], where: str) -> tuple[dict[str, Any], About]:
  """The overrides of a point and what it says about its trial; raises BadInput for what is neither."""
  about = {key: value for key, value in point.items() if key.startswith("trial.")}
  for key in about:
    if key not in KEYS:
      near = difflib.get_close_matches(key, KEYS, 1)
      remedy = f"did you mean {near[0]}?" if near else f"use {', '.join(KEYS)}"
      raise BadInput(f"unknown key {key!r}", where, remedy)
  flops = _number(about, "trial.flops", 0.0, where)
  retries = about.get("trial.retries", RETRIES)
  if type(retries) is not int or retries < 0:
    raise BadInput(f"trial.retries is {retries!r}", where, "give a whole number, 0 or more")
  hours = _number(about, "trial.max_hours", 0.0, where)
  if "trial.max_hours" in about and not hours:
    raise BadInput("trial.max_hours is 0", where, "give more, or leave it out")
  resources = read_resources(about["trial.resources"], where) if "trial.resources" in about else None
  overrides = {key: value for key, value in point.items() if not key.startswith("trial.")}
  return overrides, About(flops, retries, hours or None, resources)


def read_resources(value: Any, where: str) -> Resources:
  """A mapping of exactly the fields of Resources; raises BadInput otherwise."""
  fields = {field.name: field.type for field in dataclasses.fields(Resources)}
  if not isinstance(value, Mapping):
    raise BadInput(f"trial.resources is {value!r}", where, f"give {{{', '.join(fields)}}}")
  for name in (*value, *fields):
    if name not in fields:
      near = difflib.get_close_matches(name, fields, 1)
      remedy = f"did you mean {near[0]!r}?" if near else f"use {', '.join(fields)}"
      raise BadInput(f"trial.resources has an unknown key {name!r}", where, remedy)
    if name not in value:
      raise BadInput(f"trial.resources has no {name!r}", where, f"give {', '.join(fields)}")
    if type(value[name]) is not fields[name]:
      raise BadInput(f"trial.resources: {name} is {value[name]!r}", where, "correct its type")
  if value["hosts"] < 1:
    raise BadInput("trial.resources: hosts is below 1", where, "give 1 or more")
  return Resources(**value)


def parse_resources(text: str) -> Resources:
  """ "v6e:4x4:4" to chip, topology and hosts."""
  parts = text.split(":")
  if len(parts) != 3 or not parts[2].isdecimal():
    raise BadInput(f"is {text!r}", "--resources", "write CHIP:TOPOLOGY:HOSTS, such as v6e:4x4:4")
  return read_resources(
    {"accelerator": parts[0], "topology": parts[1], "hosts": int(parts[2])}, "--resources"
  )


def _number(about: Mapping[str, Any], key: str, otherwise: float, where: str) -> float:
  value = about.get(key, otherwise)
  if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
    raise BadInput(f"{key} is {value!r}", where, "give a finite number, not below 0")
  return float(value)
