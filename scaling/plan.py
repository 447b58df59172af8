"""Compiles the training step for a TPU slice that is not there:
python -m scaling.plan --config=F.py[:variant] --topology=v5e:16x16.

Leaves OUT/plan.json, OUT/meshes.csv (every mesh that divides) and OUT/report.html. No TPU is looked for: the step of
experiments/step.py is compiled by libtpu (requirements/tpu.txt) from shapes alone. Times are bounds, no measurements.
A quick compile cuts the step into the same collectives and FLOPs as a full one, and needs nearly the same memory.
"""

import os
import pathlib

from absl import flags

from data.errors import BadInput
from experiments import program

_CONFIG = program.define_config()
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "Slice to plan for: v5e:16x16, v5p:8x8x8, v6e:4x4, ...", required=True
)
_OUT = flags.DEFINE_string("out", "build/plan", "Directory for plan.json, meshes.csv and report.html.")
_COMPILE = flags.DEFINE_integer(
  "compile", 1, "Meshes to compile, the most promising first; 0: every mesh that divides.", lower_bound=0
)
_MESH = flags.DEFINE_string("mesh", "", "Compile this mesh only, such as fsdp=64,tensor=4.")
_EFFORT = flags.DEFINE_enum(
  "effort", "quick", ["quick", "full"], "full: optimise as a training run does; about five times as long."
)
EFFORTS = {"quick": "O1", "full": "UNKNOWN"}


def main() -> int:
  from scaling.planning import slices

  slice_ = slices.parse(_TOPOLOGY.value)
  only = _sizes(_MESH.value, slice_.chips) if _MESH.value else None
  values = program.config_dict(_CONFIG)
  os.environ["JAX_PLATFORMS"] = "cpu"  # whatever is plugged in here stays untouched
  os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # it keeps programs for devices that are there
  devices = slices.devices(slice_)

  from experiments import ahead
  from experiments.progress import Progress
  from scaling.planning import planner, planner_report, roofline

  blueprint = ahead.blueprint(values)
  step = blueprint.step
  coordinates = roofline.coordinates(devices, slice_.chip.axes)
  found = planner.candidates(slice_, step, coordinates)
  asked = found if only is None else [one for one in found if one.sizes == only]
  if not asked:
    what = f"{_MESH.value} does not cut the step evenly"
    raise BadInput(what, "--mesh", f"choose one such as {planner.describe(found[0].sizes)}")
  tries = _COMPILE.value or len(asked)
  effort = EFFORTS[_EFFORT.value]
  with Progress(min(tries, len(asked)), "compiling", unit="mesh") as bar:
    best = planner.compile_best(
      asked, slice_, step, coordinates, lambda sizes: ahead.compile_step(blueprint, sizes, devices, effort),
      tries, lambda one: bar.update(1, mesh=planner.describe(one.sizes)),
    )  # fmt: skip
  out = pathlib.Path(_OUT.value)
  planner_report.write(out, slice_, step, found, best, {"config": values, "effort": _EFFORT.value})
  print(planner_report.summary(slice_, step, found, best))
  print(out / "report.html")
  return 0


def _sizes(text: str, chips: int) -> dict[str, int]:
  """ "fsdp=64,tensor=4" to the sizes of all axes; what is left of the chips goes to the data axis."""
  import difflib
  import math

  sizes = dict.fromkeys(("data", "fsdp", "tensor", "sequence"), 1)
  named = set()
  for part in text.split(","):
    axis, _, size = part.partition("=")
    if axis not in sizes:
      near = difflib.get_close_matches(axis, sizes, 1)
      raise BadInput(f"no axis {axis!r}", f"--mesh={text}", f"did you mean {near[0] if near else 'fsdp'}?")
    if not size.isdigit() or not int(size):
      raise BadInput(f"{axis} is {size!r}", f"--mesh={text}", "give a whole number of chips")
    sizes[axis] = int(size)
    named.add(axis)
  product = math.prod(sizes.values())
  if "data" not in named and chips % product == 0:
    sizes["data"] = chips // product
  elif product != chips:
    what = f"its axes multiply to {product}, the slice has {chips} chips"
    raise BadInput(what, f"--mesh={text}", "make them agree")
  return sizes


if __name__ == "__main__":
  program.run(main)
