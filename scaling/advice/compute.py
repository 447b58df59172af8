"""Training compute that is at hand: FLOPs, or chips for hours at a share of their peak."""

import dataclasses
import os

from data.errors import BadInput
from data.files import read_json
from scaling.planning import slices


@dataclasses.dataclass(frozen=True)
class Compute:
  """Attributes: `flops` C; `source`, how it was counted, one clause; `bound`: at most that much, since it rests on a
  bound of the model FLOPs utilisation and not on an expectation; `planned`, N of the model whose step was planned, or
  None."""

  flops: float
  source: str
  bound: bool
  planned: float | None = None


def of_flops(flops: float) -> Compute:
  """A number given as such; raises BadInput unless it is positive and finite."""
  return Compute(positive("--budget_flops", flops), "as given", False)


def of_slice(topology: str, hours: float | None, mfu: float | None) -> Compute:
  """Chips x peak FLOP/s x time x the share of it that trains; raises BadInput for what is missing or unknown."""
  slice_ = slices.parse(topology)
  if mfu is None:
    remedy = "give the MFU you expect, as --mfu=0.4, or a bound of it as --plan=plan.json"
    raise BadInput("says nothing of the share of its peak that trains", f"--topology={topology}", remedy)
  return _of_chips(slice_, hours, _share(mfu), "", False)


def of_plan(path: os.PathLike | str, hours: float | None, mfu: float | None) -> Compute:
  """The slice of a plan.json. Without an expected `mfu` the plan's bound takes its place, and the result is a bound.

  Raises BadInput for a plan that does not fit its slice, or an expectation above its bound.
  """
  remedy = "give the plan.json of scaling.plan"
  plan = read_json(path, remedy)
  for key in ("topology", "fits", "mfu_bound", "params"):
    if key not in plan:
      raise BadInput(f"has no {key!r}", path, remedy)
  slice_ = slices.parse(plan["topology"])
  if not plan["fits"] or plan["mfu_bound"] is None:
    raise BadInput(f"does not fit {slice_.name}", path, "plan for more chips, or less memory per chip")
  bound, planned = _share(plan["mfu_bound"]), float(plan["params"])
  if mfu is None:
    return _of_chips(slice_, hours, bound, ", the plan's upper bound", True, planned)
  if _share(mfu) > bound:
    what = f"is {mfu:g}, above the {bound:.3g} that the planned program could reach at most"
    raise BadInput(what, "--mfu", "expect less, or plan with --effort=full")
  return _of_chips(slice_, hours, mfu, f", expected (the plan's upper bound is {bound:.0%})", False, planned)


def _of_chips(
  slice_: slices.Slice, hours: float | None, mfu: float, what: str, bound: bool, planned: float | None = None
) -> Compute:
  if hours is None:
    raise BadInput("is missing", "--hours", f"say for how long {slice_.name} trains")
  flops = slice_.chips * slice_.chip.flops * 3600 * positive("--hours", hours) * mfu
  source = f"{slice_.chips} chips of {slice_.name} at {slice_.chip.flops / 1e12:g} TFLOP/s for {hours:g} h"
  return Compute(flops, f"{source}, MFU {mfu:.1%}{what}", bound, planned)


def positive(flag: str, value: float) -> float:
  """`value`; raises BadInput that names the flag unless it is positive and finite."""
  if not 0 < value < float("inf"):
    raise BadInput(f"is {value:g}", flag, "give a positive number")
  return value


def _share(mfu: float) -> float:
  if not 0 < mfu <= 1:
    raise BadInput(f"is {mfu:g}", "--mfu", "give a share of the peak, above 0 and up to 1")
  return mfu
