"""A compiled program as text, read: its instructions, and how often each of them runs.

XLA's own cost analysis counts the body of a loop once, so a scanned model costs as much as one of its layers. Here
every computation gets the number of times it is executed, from the trip counts that the compiler knows.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator

from data.errors import BadInput

BYTES = {
  "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4,
  "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16, "s4": 0.5, "u4": 0.5,
}  # fmt: skip
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](?:\{([^{}]*)\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_NAME = re.compile(r"%([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count"?\s*[:=]\s*\{"?n"?\s*:\s*"?(\d+)')
_CALLS = re.compile(r"\b(calls|body|condition|to_apply|called_computations)=\{?(%[\w.\-]+(?:, %[\w.\-]+)*)")
_BRANCHES = re.compile(
  r"\b(?:branch_computations=\{|true_computation=|false_computation=)([^}]*?)(?:\}|, \w+=|$)"
)


@dataclasses.dataclass(frozen=True)
class Array:
  """One array of a value: `fast` when it lives in the chip's on-chip memory, not in HBM."""

  dtype: str
  shape: tuple[int, ...]
  fast: bool

  @property
  def bytes(self) -> float:
    return BYTES.get(self.dtype, 1 if self.dtype.startswith("f8") else 0) * math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """Attributes: `made` its type, `argument` what is in its parentheses, `rest` its attributes, all as text."""

  name: str
  opcode: str
  made: str
  argument: str
  rest: str
  root: bool

  @functools.cached_property
  def operands(self) -> tuple[str, ...]:
    return tuple(_NAME.findall(self.argument))

  @functools.cached_property
  def arrays(self) -> tuple[Array, ...]:
    """What it makes: one array, or those of a tuple."""
    return tuple(
      Array(kind, tuple(int(n) for n in shape.split(",") if n), bool(re.search(r"S\([1-9]", layout or "")))
      for kind, shape, layout in _ARRAY.findall(self.made)
    )

  @functools.cached_property
  def calls(self) -> dict[str, str]:
    """Attribute to the computation it names: {"calls": ...}, {"body": ...}."""
    return {kind: names.lstrip("%").split(", %")[0] for kind, names in _CALLS.findall(self.rest)}


@dataclasses.dataclass(frozen=True)
class Computation:
  name: str
  instructions: dict[str, Instruction]

  @functools.cached_property
  def root(self) -> Instruction:
    return next(i for i in self.instructions.values() if i.root)

  @functools.cached_property
  def users(self) -> dict[str, list[Instruction]]:
    found: dict[str, list[Instruction]] = collections.defaultdict(list)
    for instruction in self.instructions.values():
      for operand in dict.fromkeys(instruction.operands):
        found[operand].append(instruction)
    return found

  def arrays(self, name: str) -> tuple[Array, ...]:
    """What the named instruction makes; nothing for a name of another computation."""
    return self.instructions[name].arrays if name in self.instructions else ()


@dataclasses.dataclass(frozen=True)
class Program:
  """Attributes: `entry` names the computation that runs once."""

  computations: dict[str, Computation]
  entry: str

  def executed(self) -> Iterator[tuple[Computation, float, bool]]:
    """(computation, times it runs per step, whether it is the inside of a fusion), each computation once."""
    times: dict[str, float] = collections.defaultdict(float)
    inside: dict[str, bool] = {}
    for name in reversed(_order(self.computations, self.entry)):  # callers before what they call
      if name == self.entry:
        times[name] = 1.0
      inside.setdefault(name, False)
      computation = self.computations[name]
      yield computation, times[name], inside[name]
      for callee, count, fused in _called(self.computations, computation):
        times[callee] += times[name] * count
        inside[callee] = fused or inside[name]


def parse(text: str) -> Program:
  """Reads the text of a compiled module; one without an entry computation raises BadInput."""
  computations: dict[str, Computation] = {}
  entry = ""
  current: dict[str, Instruction] | None = None
  for line in text.splitlines():
    if current is None:
      head = _HEAD.match(line)
      if head:
        current = {}
        computations[head[2]] = Computation(head[2], current)
        entry = head[2] if head[1] else entry
    elif line.startswith("}"):
      current = None
    elif instruction := _instruction(line.strip()):
      current[instruction.name] = instruction
  if not entry:
    raise BadInput("holds no ENTRY computation", "the compiled program", "give the text of an HLO module")
  return Program(computations, entry)


def _instruction(line: str) -> Instruction | None:
  """`%name = type opcode(operands), attributes`; types and operands may hold parentheses of their own."""
  root = line.startswith("ROOT ")
  name, equals, rest = line.removeprefix("ROOT ").partition(" = ")
  if not equals:
    return None
  end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
  kind, rest = rest[:end], rest[end:].lstrip()
  start = rest.index("(")
  end = _closing(rest, start)
  return Instruction(name.lstrip("%"), rest[:start], kind, rest[start + 1 : end], rest[end + 1 :], root)


def _closing(text: str, start: int) -> int:
  """Place of the parenthesis that closes the one at `start`."""
  depth = 0
  for place in re.finditer(r"[()]", text[start:]):
    depth += 1 if place[0] == "(" else -1
    if depth == 0:
      return start + place.start()
  raise BadInput("is cut short", "the compiled program", "give the whole text of an HLO module")


def _called(
  computations: dict[str, Computation], computation: Computation
) -> Iterator[tuple[str, float, bool]]:
  """(computation, times per run of this one, fused); scalar combiners of reductions are left out."""
  for instruction in computation.instructions.values():
    opcode = instruction.opcode
    if opcode == "while":
      yield instruction.calls["body"], _trips(computations, computation, instruction), False
    elif opcode == "conditional":
      for branches in _BRANCHES.findall(instruction.rest):
        for name in _NAME.findall(branches):
          yield name, 1.0, False  # as if every branch ran: an upper bound
    elif opcode in ("fusion", "call", "async-start", "custom-call"):
      for kind in ("calls", "to_apply", "called_computations"):
        if kind in instruction.calls:
          yield instruction.calls[kind], 1.0, opcode == "fusion"


def _trips(computations: dict[str, Computation], outer: Computation, loop: Instruction) -> int:
  """How often a loop runs: as its attributes say, or from `counter < limit`, a counter that grows by one.

  Raises BadInput for a loop whose condition says nothing of the kind.
  """
  if known := _TRIPS.search(loop.rest):
    return int(known[1])
  condition = computations[loop.calls["condition"]]
  test = condition.root
  while test.opcode in ("fusion", "call"):
    test = computations[test.calls["calls" if test.opcode == "fusion" else "to_apply"]].root
  limits = [
    i for i in condition.instructions.values() if i.opcode == "constant" and i.made.startswith("s32[]")
  ]
  counters = [i for i in condition.instructions.values() if i.opcode == "get-tuple-element"]
  if test.opcode != "compare" or "direction=LT" not in test.rest or len(limits) != 1 or len(counters) != 1:
    what = f"the loop {loop.name} does not say how often it runs"
    raise BadInput(what, "the compiled program", "set model.scan=False")
  place = re.search(r"index=(\d+)", counters[0].rest)
  start = outer.instructions[outer.instructions[loop.operands[0]].operands[int(place[1]) if place else 0]]
  while start.opcode in ("copy", "bitcast", "convert", "copy-done", "copy-start"):
    start = outer.instructions[start.operands[0]]
  begun = int(start.argument) if start.opcode == "constant" else 0
  return int(limits[0].argument) - begun


def _order(computations: dict[str, Computation], entry: str) -> list[str]:
  """The computations that `entry` reaches, callees before callers."""
  done: dict[str, None] = {}
  stack = [(entry, False)]
  while stack:
    name, left = stack.pop()
    if left:
      done[name] = None
    elif name not in done:
      stack.append((name, True))
      stack += [
        (callee, False) for callee, _, _ in _called(computations, computations[name]) if callee not in done
      ]
  return list(done)
