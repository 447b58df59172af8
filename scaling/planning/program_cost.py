"""What one step of a compiled program does on one chip: floating-point operations, HBM traffic, collectives.

Read off the partitioned, optimised program, so that recomputation, padding and what the partitioner duplicates are
counted; loops are multiplied out (scaling/planning/hlo.py).
"""

import dataclasses
import math
import re
from typing import Any

import numpy as np

from scaling.planning.hlo import Array, Computation, Instruction, Program

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_SILENT = {
  "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", "conditional", "call", "after-all",
  "partition-id", "replica-id", "opt-barrier", "async-start", "async-update", "custom-call",
}  # fmt: skip
_SLICES = {"dynamic-slice", "slice", "gather"}


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective of the program.

  Attributes:
    kind: one of KINDS. times: runs per step. bytes: of its operands on one chip, per run.
    group: ids of one group of chips that take part, in the order of the device assignment.
  """

  kind: str
  times: float
  bytes: float
  group: tuple[int, ...]

  @property
  def received(self) -> float:
    """Bytes that a chip must receive per step, by the best algorithm on any network.

    R. Thakur et al., "Optimization of collective communication operations in MPICH", 2005.
    """
    g = len(self.group)
    factor = {"all-gather": g - 1, "all-reduce": 2 * (g - 1) / g, "collective-permute": 1.0}
    return self.times * self.bytes * factor.get(self.kind, (g - 1) / g)


@dataclasses.dataclass(frozen=True)
class Cost:
  """Per chip and step. `flops`: 2 per multiply-add of matrix products; `hbm_bytes`: operands read and results
  written outside on-chip memory; `collectives`: all of more than one chip."""

  flops: float
  hbm_bytes: float
  collectives: tuple[Collective, ...]


def cost(program: Program) -> Cost:
  """Adds up every instruction as often as it runs."""
  flops = traffic = 0.0
  collectives: dict[object, Collective] = {}
  for computation, times, fused in program.executed():
    for instruction in computation.instructions.values():
      flops += times * _flops(computation, instruction)
      kind = _kind(computation, instruction)
      if kind:
        # The pieces of an all-gather that runs under a matmul share the channel of the whole.
        channel = _channel(instruction)
        found = _collective(computation, instruction, kind, times)
        if len(found.group) > 1 and channel not in collectives:
          collectives[channel] = found
          traffic += times * _both(computation, instruction)
      elif not fused:
        traffic += times * _traffic(program, computation, instruction)
  return Cost(flops, traffic, tuple(collectives.values()))


def by_kind(collectives: tuple[Collective, ...]) -> dict[str, dict[str, float]]:
  """{kind: {"count": in the program, "runs": per step, "bytes": received per chip and step}}."""
  found: dict[str, dict[str, float]] = {kind: {"count": 0, "runs": 0.0, "bytes": 0.0} for kind in KINDS}
  for one in collectives:
    entry = found[one.kind]
    entry["count"] += 1
    entry["runs"] += one.times
    entry["bytes"] += one.received
  return found


def by_size(collectives: tuple[Collective, ...]) -> list[dict[str, Any]]:
  """Those of one kind, size and number of chips in one line, the largest traffic first: {"kind", "bytes" of the
  operands per chip and run, "chips", "count" in the program, "runs" and "received" bytes per chip and step}."""
  found: dict[tuple, dict[str, Any]] = {}
  for one in collectives:
    size = {"kind": one.kind, "bytes": one.bytes, "chips": len(one.group)}
    entry = found.setdefault(tuple(size.values()), size | {"count": 0, "runs": 0.0, "received": 0.0})
    entry["count"] += 1
    entry["runs"] += one.times
    entry["received"] += one.received
  return sorted(found.values(), key=lambda entry: -entry["received"])


def _flops(computation: Computation, instruction: Instruction) -> float:
  if instruction.opcode == "dot":
    left = computation.arrays(instruction.operands[0])[0].shape
    contracted = _numbers(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest)
    return 2.0 * math.prod(instruction.arrays[0].shape) * math.prod(left[i] for i in contracted)
  if instruction.opcode == "convolution":
    return _convolution(computation, instruction)
  return 0.0


def _convolution(computation: Computation, instruction: Instruction) -> float:
  """TPUs run every matrix product as a convolution, batch axes as dilated windows: count what meets data only."""
  labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.rest)
  assert labels, instruction.name
  left, right = (computation.arrays(name)[0].shape for name in instruction.operands[:2])
  out = instruction.arrays[0].shape
  features = right[labels[2].index("i")]  # already divided by the groups
  total = 2.0 * features * out[labels[3].index("b")] * out[labels[3].index("f")]
  window = {key: value for key, value in re.findall(r"(\w+)=([\dx_\-]+)", _window(instruction.rest))}
  spatial = sorted(label for label in labels[1] if label.isdigit())
  for axis, label in enumerate(spatial):
    part = {key: value.split("x")[axis] for key, value in window.items()}
    low = int(part.get("pad", "0_0").split("_")[0])
    dilate = int(part.get("lhs_dilate", 1))
    at = (
      np.arange(out[labels[3].index(label)])[:, None] * int(part.get("stride", 1))
      + np.arange(right[labels[2].index(label)])[None] * int(part.get("rhs_dilate", 1))
      - low
    )
    meets = (at >= 0) & (at <= (left[labels[1].index(label)] - 1) * dilate) & (at % dilate == 0)
    total *= int(meets.sum())
  return total


def _window(rest: str) -> str:
  found = re.search(r"window=\{([^}]*)\}", rest)
  return found[1] if found else ""


def _kind(computation: Computation, instruction: Instruction) -> str:
  """The kind of collective; "" for any other instruction and for the second half of an asynchronous one."""
  kind = instruction.opcode.removesuffix("-start")
  if kind not in KINDS:
    return ""
  # A reduce-scatter is compiled as an all-reduce fused with the slice that a chip keeps.
  fused = kind == "all-reduce" and computation.name.startswith("all-reduce-scatter")
  return "reduce-scatter" if fused else kind


def _collective(computation: Computation, instruction: Instruction, kind: str, times: float) -> Collective:
  size = sum(array.bytes for name in instruction.operands for array in computation.arrays(name))
  return Collective(kind, times, size, _group(instruction.rest))


def _channel(instruction: Instruction) -> object:
  found = re.search(r"channel_id=(\d+)", instruction.rest)
  return int(found[1]) if found else instruction.name


def _group(rest: str) -> tuple[int, ...]:
  """The largest group of a collective, in any of the four ways that XLA writes groups down."""
  if named := re.search(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^)]*)\))? ?\{([^}]*)\}", rest):
    return _named_group(*named.groups())
  if iota := re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest):
    sizes = [int(n) for n in iota[3].split(",")]
    order = [int(n) for n in iota[4].split(",")] if iota[4] else range(len(sizes))
    grid = np.arange(math.prod(sizes)).reshape(sizes).transpose(order)
    return tuple(grid.reshape(int(iota[1]), int(iota[2]))[0].tolist())
  if pairs := re.search(r"source_target_pairs=\{(\{[\d,{}]*\})\}", rest):
    ids = [tuple(int(n) for n in pair.split(",")) for pair in re.findall(r"\{(\d+,\d+)\}", pairs[1])]
    return max(ids, key=lambda pair: abs(pair[0] - pair[1]))
  groups = re.search(r"replica_groups=\{(\{[\d,{}]*\})\}", rest)
  listed = re.findall(r"\{([\d,]+)\}", groups[1]) if groups else []
  found = [tuple(int(n) for n in part.split(",")) for part in listed]
  return max(found, key=len, default=())


def _named_group(axes: str, ids: str | None, members: str) -> tuple[int, ...]:
  """mesh['data'=4,'fsdp'=8] {'fsdp'}: the chips along the named axes, from the first of the others."""
  sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", axes)}
  grid = np.arange(math.prod(sizes.values()))
  if ids:
    grid = np.array([int(n) for n in ids.split(",")])
  grid = grid.reshape(tuple(sizes.values()))
  index: list[slice | int] = [0] * len(sizes)
  for name, before, size in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", members):
    place = list(sizes).index(name)
    if not size:
      index[place] = slice(None)
    else:  # a part of an axis: `before` times the rest, from the major end
      step = sizes[name] // (int(before) * int(size))
      index[place] = slice(0, step * int(size), step)
  return tuple(grid[tuple(index)].reshape(-1).tolist())


def _traffic(program: Program, computation: Computation, instruction: Instruction) -> float:
  """Bytes between the chip and its HBM: what is kept in on-chip memory moves for free."""
  opcode = instruction.opcode
  if opcode in _SILENT or opcode.endswith("-done"):
    return 0.0
  if opcode == "fusion":
    return _fusion_traffic(computation, instruction, program.computations[instruction.calls["calls"]])
  if opcode in _SLICES:
    return 2 * _slow(instruction.arrays)
  if opcode in ("dynamic-update-slice", "scatter"):
    update = instruction.operands[1 if opcode == "dynamic-update-slice" else -1]
    return 2 * _slow(computation.arrays(update))
  return _both(computation, instruction)


def _both(computation: Computation, instruction: Instruction) -> float:
  """Operands read and results written; the tuple of an asynchronous start repeats its operands."""
  read = sum(_slow(computation.arrays(name)) for name in instruction.operands)
  made = _slow(instruction.arrays)
  return read + (max(made - read, 0.0) if instruction.opcode.endswith("-start") else made)


def _fusion_traffic(outer: Computation, fusion: Instruction, inner: Computation) -> float:
  """Reads of a fusion's operands and writes of its results; of a buffer that is sliced, the slices only."""
  total = _written(inner, fusion)
  for parameter in (i for i in inner.instructions.values() if i.opcode == "parameter"):
    given = _slow(outer.arrays(fusion.operands[int(parameter.argument)]))
    total += min(given, _read(inner, parameter.name))
  return total


def _read(inner: Computation, name: str) -> float:
  """Bytes of the named value that its users inside the fusion look at."""
  total = 0.0
  for user in inner.users[name]:
    if user.opcode in _SLICES and user.operands[0] == name:
      total += sum(array.bytes for array in user.arrays)
    elif user.opcode == "bitcast":
      total += _read(inner, user.name)
    elif not (
      (user.opcode == "dynamic-update-slice" and user.operands[0] == name)  # in place
      or (user.root and user.opcode == "tuple")  # passed through
      or _kind(inner, user)  # counted with the collective
    ):
      return math.inf
  return total


def _written(inner: Computation, fusion: Instruction) -> float:
  root = inner.root
  parts = [inner.instructions[name] for name in root.operands] if root.opcode == "tuple" else [root]
  total = 0.0
  for part, array in zip(parts, fusion.arrays, strict=False):
    while part.opcode == "bitcast" and part.operands[0] in inner.instructions:
      part = inner.instructions[part.operands[0]]
    if part.opcode == "dynamic-update-slice":
      array = dataclasses.replace(array, shape=inner.arrays(part.operands[1])[0].shape)
    if part.opcode not in ("parameter", "custom-call") and not _kind(inner, part):
      total += _slow((array,))
  return total


def _slow(arrays: tuple[Array, ...]) -> float:
  return sum(array.bytes for array in arrays if not array.fast)


def _numbers(pattern: str, text: str) -> list[int]:
  found = re.search(pattern, text)
  return [int(n) for n in found[1].split(",") if n] if found else []
