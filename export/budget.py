"""What an answer costs on a vehicle that is not here: a roofline of the captured graph against a hardware profile.

Every operator takes the longer of its arithmetic at the peak rate and its bytes at the peak bandwidth (S. Williams, A.
Waterman, D. Patterson, "Roofline", CACM 52(4), 2009); operators follow one another. Joules are the profile's watts for
that time. All of it is a MODEL, not a measurement: peak rates, which no runtime reaches, and no operator taken into
another, which runtimes do; it may err to either side. What is no product of integers is taken to run in FP16, as these
platforms run it.
"""

import dataclasses
import math
import pathlib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import BadInput
from export.onnx_capture import MERGED
from export.recipe import Recipe

LIMITS = ("latency_ms", "joules", "bytes")
_RATES = ("int8_per_s", "fp16_per_s", "bytes_per_s", "watts")
_FLOAT_BYTES = 2  # FP16
# Views and what runtimes take into the operator before or after.
_FREE = {"Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten", "Cast"}
_ROWS = {"Gather", "Slice"}  # read as much of a table as they give


@dataclasses.dataclass(frozen=True)
class Profile:
  """Peak rates of a platform, dense operations (a multiply-add is two); bytes_per_s of its memory; limits by name."""

  name: str
  int8_per_s: float
  fp16_per_s: float
  bytes_per_s: float
  watts: float
  limits: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Operator:
  """name, kind: of an ONNX node. integers: whether both of its operands are."""

  name: str
  kind: str
  operations: int
  bytes: int
  integers: bool

  def seconds(self, profile: Profile) -> float:
    rate = profile.int8_per_s if self.integers else profile.fp16_per_s
    return max(self.operations / rate, self.bytes / profile.bytes_per_s)


def read_profile(path: str) -> Profile:
  """Raises BadInput for a file that is no profile: rates missing or not positive, or a limit of another name."""
  try:
    values = tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
    raise BadInput(f"is no hardware profile ({error})", path, "take one of export/profiles") from None
  limits = values.get("limits", {})
  if set(values) != {"name", "limits", *_RATES} or not isinstance(limits, dict) or not limits:
    what = f"has the keys {', '.join(values) or 'none'}"
    raise BadInput(what, path, f"a profile has name, {', '.join(_RATES)} and a table of limits")
  if unknown := sorted(set(limits) - set(LIMITS)):
    raise BadInput(f"limits {unknown[0]!r}", path, f"limits are {', '.join(LIMITS)}")
  for name, value in ({key: values[key] for key in _RATES} | limits).items():
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
      raise BadInput(f"{name} is {value!r}", path, "give a positive number")
  return Profile(values["name"], limits=limits, **{key: float(values[key]) for key in _RATES})


def operators(graph: Any, recipe: Recipe | None) -> list[Operator]:
  """Of a captured onnx.ModelProto whose sites are made as a recipe says; None: all in FP16.

  Bytes: what an operator reads and writes, activations of a static or dynamic site as integers, weights as they are
  stored; an operator that only gives a shape to what it reads costs nothing.
  """
  import onnx

  inferred = onnx.shape_inference.infer_shapes(graph).graph
  told = (*inferred.value_info, *inferred.input, *inferred.output)
  sizes = {one.name: [axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in told}
  held = {one.name: list(one.dims) for one in graph.graph.initializer}
  sizes |= held
  found = []
  for node in graph.graph.node:
    if node.op_type in _FREE:
      continue
    numbers = {name: math.prod(sizes[name]) for name in (*node.input, *node.output) if name}
    moved = {name: n * _FLOAT_BYTES for name, n in numbers.items()}
    if node.op_type in _ROWS:
      moved[node.input[0]] = sum(numbers[name] for name in node.output) * _FLOAT_BYTES
    operations, integers = sum(numbers[name] for name in node.output), False
    if node.op_type in ("MatMul", "Gemm"):
      operations *= 2 * sizes[node.input[0]][-1]
      if recipe is not None and node.input[1] in held:
        site = recipe.of(node.name.split(MERGED)[0])
        integers = site.activation != "float"
        moved[node.input[1]] = site_bytes(sizes[node.input[1]], site.bits)
        if integers:
          moved[node.input[0]] = numbers[node.input[0]]
    found.append(Operator(node.name, node.op_type, operations, sum(moved.values()), integers))
  return found


def site_bytes(shape: Sequence[int], bits: int) -> int:
  """Of a weight [K, N]: its integers and a scale of 4 bytes for each column, or FP16."""
  if bits == 32:
    return math.prod(shape) * _FLOAT_BYTES
  return math.ceil(math.prod(shape) * bits / 8) + 4 * shape[-1]


def constants_bytes(graph: Any, recipe: Recipe | None) -> int:
  """What an artifact stores at least: float32, or integers where the recipe says so."""
  sites = {}
  if recipe is not None:
    for node in graph.graph.node:
      if node.op_type in ("MatMul", "Gemm"):
        sites[node.input[1]] = recipe.of(node.name.split(MERGED)[0]).bits
  total = 0
  for one in graph.graph.initializer:
    bits = sites.get(one.name, 32)
    total += math.prod(one.dims) * 4 if bits == 32 else site_bytes(one.dims, bits)
  return total


def modelled(graph: Any, recipe: Recipe | None, profile: Profile) -> dict[str, float]:
  """{limit: what the model says}: latency_ms, joules, bytes."""
  seconds = sum(one.seconds(profile) for one in operators(graph, recipe))
  return {
    "latency_ms": 1e3 * seconds,
    "joules": seconds * profile.watts,
    "bytes": constants_bytes(graph, recipe),
  }


def excess(costs: Mapping[str, float], profile: Profile) -> dict[str, float]:
  """{limit: cost over limit}: at most 1 where it is kept."""
  return {name: costs[name] / limit for name, limit in profile.limits.items()}


def fitting(costs: Mapping[str, Mapping[str, float]], profile: Profile) -> list[str]:
  """Of candidates, those that keep every limit."""
  return [name for name, own in costs.items() if max(excess(own, profile).values()) <= 1]


def nearest(costs: Mapping[str, Mapping[str, float]], profile: Profile) -> str:
  """By how much nothing fits: the candidate whose worst limit is exceeded least, in words."""
  over = {name: excess(own, profile) for name, own in costs.items()}
  name = min(over, key=lambda one: max(over[one].values()))
  missed = (
    f"{x:.3g} times the {profile.limits[limit]:g} {limit}" for limit, x in over[name].items() if x > 1
  )
  return f"{name} comes closest, {', '.join(missed)}"


def told(costs: Mapping[str, float]) -> str:
  return f"{costs['latency_ms']:.3g} ms, {costs['joules']:.3g} J, {costs['bytes']:,.0f} bytes"


def table(found: Sequence[Operator], profile: Profile) -> str:
  """Operators by kind, the longest first: how many, milliseconds, share, and of how many the memory is the limit."""
  kinds: dict[tuple[str, bool], list[Operator]] = {}
  for one in found:
    kinds.setdefault((one.kind, one.integers), []).append(one)
  whole = sum(one.seconds(profile) for one in found)
  lines = [f"{'operator':<24}{'count':>6}{'ms, model':>12}{'share':>8}{'memory-bound':>14}"]
  for (kind, integers), own in sorted(kinds.items(), key=lambda item: -_seconds(item[1], profile)):
    bound = sum(one.bytes / profile.bytes_per_s >= one.seconds(profile) for one in own)
    seconds = _seconds(own, profile)
    name = f"{kind} INT8" if integers else kind
    lines.append(f"{name:<24}{len(own):>6}{1e3 * seconds:>12.4f}{seconds / whole:>8.1%}{bound:>14}")
  return "\n".join(lines)


def _seconds(found: Sequence[Operator], profile: Profile) -> float:
  return sum(one.seconds(profile) for one in found)
