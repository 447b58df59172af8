"""Does one learning rate serve every width? Four rates at four widths, judged on the tuning split.

muP (arXiv:2203.03466) says that the best rate does not move with the width. Expected, and its cost: results/rate.

  python -m scaling.sweep --config=experiments/configs/motion_rate.py --workdir=build/rate
"""

from ml_collections import ConfigDict

from experiments.configs import isoflop, motion, variants

RATES = (0.004, 0.01, 0.025, 0.05)
RUNS = {8: 1.2e10, 16: 3e10, 24: 5e10, 32: 8e10}


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny",), __file__)
  config = motion.get_config(variant or "w16")
  config.data.dataset = "build/ladder_data"
  config.data.eval_split = "tune"
  config.checkpoint.every_steps = 5000
  return config


def sweep(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny",), __file__)
  runs = {8: 2e8, 16: 4e8} if variant == "tiny" else RUNS
  return [
    isoflop.point(width, flops, seed=0) | {"optimizer.learning_rate": rate}
    for width, flops in runs.items()
    for rate in RATES
  ]
