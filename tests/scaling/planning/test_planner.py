"""Which meshes are compiled, which is recommended, what the files say; the compiler is played by closed forms."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from data.errors import BadInput
from models.motion_config import MotionConfig
from scaling import counting
from scaling.planning import planner, planner_report, slices
from scaling.planning.mesh_estimate import Leaf
from scaling.planning.planner import Compiled, Step, TooLarge

MODEL = MotionConfig(
  width=256, layers=2, head_dim=32, factors=(15, 17), features=63, steps=16, agents=16, dtype="bfloat16",
  scan=True, remat="none", adapter=0, prefix=0, heads=0, hidden=0,
)  # fmt: skip
SLICE = slices.parse("v5e:4x4")
PLACES = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(16, 2)


def _step(windows=64, weight=(1024, 4096)):
  return Step(
    MODEL,
    (
      Leaf("['params']['up']", "state", weight, 4, (("fsdp",), ("tensor",))),
      Leaf("tokens_BxTxA", "batch", (windows, 16, 16), 2, (("data", "fsdp"), ("sequence",), ())),
    ),
    windows * 256,
    1,
  )


def _compiler(too_large, products=1):
  """Compiles every mesh to so many products of [64, 64] and says of the meshes in `too_large` that they are."""
  asked = []

  def compile_(sizes):
    asked.append(tuple(sizes.values()))
    if asked[-1] in too_large:
      raise TooLarge("RESOURCE_EXHAUSTED: temporaries (21.50G) exceeds available HBM (15.75G). HLO module")
    lines = [
      f"  %y{i} = f32[64,64]{{1,0}} dot(%x, %x), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}"
      for i in range(products + sizes["tensor"])
    ]
    text = "\n".join(["ENTRY %main () -> f32[] {", "  %x = f32[64,64]{1,0} parameter(0)", *lines, "}"])
    return Compiled(text.replace("  %y0", "  ROOT %y0"), 2**30, 0, 2**20)

  compile_.asked = asked
  return compile_


def _plan(compile_, tries=1, step=None):
  step = step or _step()
  found = planner.candidates(SLICE, step, PLACES)
  told = []
  best = planner.compile_best(found, SLICE, step, PLACES, compile_, tries, told.append)
  assert [candidate for candidate in found if candidate.verdict] == told
  return found, best


def test_the_most_promising_are_compiled_and_the_fastest_that_fits_is_taken():
  compile_ = _compiler(too_large=())
  found, best = _plan(compile_, tries=len(planner.candidates(SLICE, _step(), PLACES)))
  assert compile_.asked == [tuple(candidate.sizes.values()) for candidate in found]
  bounds = [candidate.verdict.bound.seconds for candidate in found]
  assert best.verdict.bound.seconds == min(bounds) < max(bounds)
  assert found == sorted(found, key=lambda candidate: candidate.likely(SLICE))


def test_the_compiler_overrules_the_estimate():
  first, second = (tuple(c.sizes.values()) for c in planner.candidates(SLICE, _step(), PLACES)[:2])
  compile_ = _compiler(too_large={first})
  found, best = _plan(compile_)
  assert compile_.asked == [first, second] and tuple(best.sizes.values()) == second
  refused = found[0].verdict
  assert refused and not refused.fits and refused.bytes == int(21.5 * 2**30) and refused.cost is None
  assert best.verdict.bytes == 2**30 + 2**20


@pytest.mark.parametrize(
  "message",
  [
    "CompileTimeHbmOom: memory required for HLO temporaries (21.50G) exceeds available HBM (15.75G). HLO module: f",
    "Ran out of memory in memory space hbm. Used 21.50G of 15.75G hbm. Exceeded hbm capacity by 5.75G.",
  ],
)
def test_both_wordings_of_too_large_are_read(message):
  assert planner.required_bytes(message) == int(21.5 * 2**30)
  assert planner.available_bytes(message) == int(15.75 * 2**30)


def test_what_fits_nowhere_is_reported_after_a_few_tries(tmp_path):
  everything = {tuple(c.sizes.values()) for c in planner.candidates(SLICE, _step(), PLACES)}
  compile_ = _compiler(too_large=everything)
  found, best = _plan(compile_)
  assert len(compile_.asked) == 1 + planner._EXTRA and not best.verdict.fits
  planner_report.write(tmp_path, SLICE, _step(), found, best, {})
  made = json.loads((tmp_path / "plan.json").read_text())
  assert made["fits"] is False and made["step_seconds_bound"] is None
  assert made["bytes_per_chip"] > made["hbm_per_chip"]
  page = (tmp_path / "report.html").read_text()
  assert "No mesh fits, of those that were compiled" in page and "MiB per chip" not in page
  assert "does not fit" in planner_report.summary(SLICE, _step(), found, best)


def test_files_hold_the_contract_and_every_mesh(tmp_path):
  step = _step()
  found, best = _plan(_compiler(too_large=(), products=5))
  planner_report.write(tmp_path, SLICE, step, found, best, {"config": {"seed": 0}})
  made = json.loads((tmp_path / "plan.json").read_text())
  contract = {
    "topology",
    "fits",
    "bytes_per_chip",
    "hbm_per_chip",
    "collectives",
    "step_seconds_bound",
    "mfu_bound",
  }
  assert contract | {"mesh"} <= made.keys()
  assert made["config"] == {"seed": 0}
  assert made["topology"] == "v5e:4x4" and made["fits"] is True and made["mesh"] == best.sizes
  assert made["flops_per_chip"] == (5 + best.sizes["tensor"]) * 2 * 64**3
  model = counting.count(MODEL).flops_per_token * step.positions
  assert made["mfu_bound"] == pytest.approx(model / (16 * 197e12 * made["step_seconds_bound"]))
  with open(tmp_path / "meshes.csv") as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == len(found) and [row["compiled"] for row in rows].count("True") == 1
  [tripled] = (row for row in planner_report.count_table(step).rows if str(row[0]).startswith("three"))
  assert tripled[1:] == [MODEL.flops_per_token(), MODEL.flops_per_token() * step.positions / model]
  page = (tmp_path / "report.html").read_text()
  assert f"All {len(found)} meshes" in page and "recommended" in page and "no step was run" in page


def test_a_step_that_no_mesh_cuts_is_refused_with_the_nearest_slice():
  """A weight that nothing divides, two windows of four steps: eight chips at most."""
  weight, batch = _step(weight=(7, 11)).leaves
  leaves = (weight, dataclasses.replace(batch, shape=(2, 4, 4)))
  with pytest.raises(BadInput, match=r"no mesh of 16 chips .*stands in the way.*or choose v5e:2x4"):
    planner.candidates(SLICE, dataclasses.replace(_step(), leaves=leaves), PLACES)
