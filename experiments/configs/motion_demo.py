"""The demo's ladder: four budgets, five sizes each, and one larger run to predict.

Expected: a minimum inside every budget, and the larger run near its prediction; what came of it, and the time it
took: results/demo.

  python -m experiments.demo --workdir=demo
  python -m scaling.sweep --config=experiments/configs/motion_demo.py --config.data.dataset=DIR --workdir=W
"""

from types import ModuleType

from ml_collections import ConfigDict

from experiments.configs import isoflop, motion, variants

LADDER = {
  5e9: (4, 6, 8, 12, 16),
  1.25e10: (4, 6, 8, 12, 16),
  3.2e10: (6, 8, 12, 16, 24),
  8e10: (6, 8, 12, 16, 24),
}
LARGER = (16, 2.56e11)
TINY = {2e8: (4, 6, 8), 4e8: (4, 6, 8)}


def family() -> ModuleType:
  return isoflop


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny", "larger"), __file__)
  return isoflop.config(*LARGER) if variant == "larger" else motion.get_config(variant or "w8")


def sweep(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny", "larger"), __file__)
  if variant == "larger":
    return [isoflop.point(*LARGER, seed=0)]
  ladder = TINY if variant == "tiny" else LADDER
  return [isoflop.point(width, flops, seed=0) for flops, widths in ladder.items() for width in widths]
