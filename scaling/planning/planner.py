"""Every mesh of a slice in one order, the promising ones compiled, and the one to take.

All meshes that cut the step evenly are estimated (mesh_estimate.py). The compiler is then asked, best first;
what it says of bytes, FLOPs and collectives replaces the estimate, and the mesh recommended is one that it fitted.
"""

import dataclasses
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from data.errors import BadInput
from models.motion_config import MotionConfig
from scaling import counting
from scaling.planning import hlo, mesh_estimate, program_cost, roofline, slices
from scaling.planning.mesh_estimate import Estimate, Leaf, Sizes
from scaling.planning.program_cost import Cost
from scaling.planning.slices import GiB, Slice

_EXTRA = 4  # meshes compiled beyond those asked for, while none of them fits
_EXCEEDS = re.compile(r"([\d.]+)([KMGT])(?:\) exceeds available HBM \(| of )([\d.]+)([KMGT])")  # two wordings
_UNIT = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What the compiler made of a step: the program as text, and bytes per chip.

  `arguments` holds the state and the batch, `outputs` what is not written over them.
  """

  text: str
  arguments: int
  outputs: int
  temporaries: int


class TooLarge(Exception):
  """The compiler found no way to keep the program inside the memory of a chip; its message says by how much."""


@dataclasses.dataclass(frozen=True)
class Step:
  """What is planned. `positions` tokens per step on all chips, cut into `accumulate` micro-batches."""

  model: MotionConfig
  leaves: Sequence[Leaf]
  positions: int
  accumulate: int


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The compiler's word on one mesh. `bytes` per chip; of a program that does not fit, what it asked for.
  `cost` and `bound` are there when it fits. `seconds` the compiler took."""

  fits: bool
  bytes: int
  seconds: float
  cost: Cost | None = None
  bound: roofline.Bound | None = None


@dataclasses.dataclass
class Candidate:
  """A mesh, what it is estimated to cost, and what the compiler said if it was asked."""

  sizes: Sizes
  estimate: Estimate
  verdict: Verdict | None = None

  def likely(self, slice_: Slice) -> tuple[bool, float, float]:
    """Sorts what should fit first, by its bound and then by the sum of what is bounded; the rest by bytes."""
    bound = self.estimate.bound
    if self.estimate.total > slice_.chip.hbm:
      return True, self.estimate.total, 0.0
    return False, bound.seconds, bound.compute + bound.memory + bound.network


def candidates(slice_: Slice, step: Step, coordinates_NxK: np.ndarray) -> list[Candidate]:
  """All meshes of the slice that cut the step evenly, the most promising first; none raises BadInput."""
  found, blame = mesh_estimate.meshes(slice_.chips, step.leaves)
  if not found:
    near = _nearest_slice(slice_, step.leaves)
    what = f"no mesh of {slice_.chips} chips cuts the step evenly ({blame} stands in the way)"
    remedy = "make data.batch_windows and model.width multiples of larger powers of two"
    raise BadInput(what, f"--topology={slice_.name}", f"{remedy}, or choose {near}" if near else remedy)
  made = [
    Candidate(
      sizes,
      mesh_estimate.estimate(
        step.model, step.leaves, step.positions, step.accumulate, sizes, slice_, coordinates_NxK
      ),
    )
    for sizes in found
  ]
  return sorted(made, key=lambda candidate: candidate.likely(slice_))


def _nearest_slice(slice_: Slice, leaves: Iterable[Leaf]) -> str:
  kind, leaves = slice_.name.partition(":")[0], list(leaves)
  counts: dict[int, str] = {}
  for shape in slices.known(kind):
    counts.setdefault(math.prod(shape), f"{kind}:{'x'.join(map(str, shape))}")
  for chips in sorted(counts, key=lambda chips: abs(math.log(chips / slice_.chips))):
    if mesh_estimate.meshes(chips, leaves)[0]:
      return counts[chips]
  return ""


def compile_best(
  found: list[Candidate],
  slice_: Slice,
  step: Step,
  coordinates_NxK: np.ndarray,
  compile_: Callable[[Sizes], Compiled],
  tries: int,
  tell: Callable[[Candidate], None],
) -> Candidate:
  """Asks the compiler about the first `tries` of `found`, and a few more while none fits; returns the best that
  fits, or else the one that needs the least memory.

  Args:
    compile_: raises TooLarge for a program that does not fit. tell: called with each mesh that was compiled.
  """
  for place, candidate in enumerate(found):
    fits = any(c.verdict.fits for c in found[:place] if c.verdict)
    if place >= tries + _EXTRA or (place >= tries and fits):
      break
    candidate.verdict = _verdict(candidate, slice_, step, coordinates_NxK, compile_)
    tell(candidate)
  asked = [(c, c.verdict) for c in found if c.verdict]
  fitting = [(v.bound.seconds, place) for place, (_, v) in enumerate(asked) if v.bound]
  if fitting:
    return asked[min(fitting)[1]][0]
  return min(asked, key=lambda pair: pair[1].bytes)[0]


def _verdict(candidate, slice_, step, coordinates_NxK, compile_) -> Verdict:
  begun = time.monotonic()
  try:
    compiled = compile_(candidate.sizes)
  except TooLarge as error:
    return Verdict(False, required_bytes(str(error)), time.monotonic() - begun)
  seconds = time.monotonic() - begun
  cost = program_cost.cost(hlo.parse(compiled.text))
  network = roofline.network_seconds(slice_, coordinates_NxK, cost.collectives)
  model_flops = counting.count(step.model).flops_per_token * step.positions
  bound = roofline.bound(slice_, model_flops, cost.flops, cost.hbm_bytes, network)
  total = compiled.arguments + compiled.outputs + compiled.temporaries
  return Verdict(True, total, seconds, cost, bound)


def required_bytes(message: str) -> int:
  """What a program that does not fit asked for, as the compiler's error says; 0 when it does not say."""
  found = _EXCEEDS.search(message)
  return int(float(found[1]) * _UNIT[found[2]]) if found else 0


def available_bytes(message: str) -> int:
  """The memory of a chip, as the same error says."""
  found = _EXCEEDS.search(message)
  return int(float(found[3]) * _UNIT[found[4]]) if found else 0


def describe(sizes: Sizes) -> str:
  return " ".join(f"{axis}={size}" for axis, size in sizes.items() if size > 1) or "one chip"


def gib(count: float) -> float:
  return count / GiB
