"""The demo's ladder: three budgets, five sizes each, and one larger run to predict.

Expected: minima inside every budget at about 1,500, 2,500 and 4,000 parameters; the larger run, at three
times the largest budget, within 2 % of its prediction. Cost: about 4 minutes on two cores.

  python -m experiments.demo --workdir=demo
  python -m scaling.sweep --config=experiments/configs/motion_demo.py --config.data.dataset=DIR --workdir=W
"""

from ml_collections import ConfigDict

from experiments.configs import isoflop, motion

LADDER = {8e9: (4, 6, 8, 12, 16), 2e10: (4, 6, 8, 12, 16), 5e10: (6, 8, 12, 16, 24)}
LARGER = (16, 1.6e11)
TINY = {2e8: (4, 6, 8), 4e8: (4, 6, 8)}


def get_config(variant: str = "") -> ConfigDict:
  return isoflop.config(*LARGER) if variant == "larger" else motion.get_config("w8")


def sweep(variant: str = "") -> list[dict]:
  ladder = TINY if variant == "tiny" else LADDER
  return [isoflop.point(width, flops, seed=0) for flops, widths in ladder.items() for width in widths]
