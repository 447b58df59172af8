"""Which learning rate, for which width and how much data? Five rates, three widths, three amounts of data.

muP (arXiv:2203.03466) says that the best rate does not move with the width; with the data it falls. Judged on the
tuning split, which no ladder is scored on; the rule drawn from it is `learning_rate` in
experiments/configs/motion.py. Expected, and its cost: results/rate.

  python -m scaling.sweep --config=experiments/configs/motion_rate.py --workdir=build/rate
"""

from ml_collections import ConfigDict

from experiments.configs import isoflop, motion, variants

RATES = (0.002, 0.004, 0.008, 0.016, 0.032)
WIDTHS = (8, 16, 32)
TOKENS = (100_000, 400_000, 1_600_000)


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny",), __file__)
  config = motion.get_config(variant or "w16")
  config.data.dataset = "build/ladder_data"
  config.data.eval_split = "tune"
  config.checkpoint.every_steps = 5000
  return config


def sweep(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny",), __file__)
  tiny = variant == "tiny"
  return [
    isoflop.point(width, isoflop.flops(width, tokens), seed=0) | {"optimizer.learning_rate": rate}
    for tokens in ((10_000,) if tiny else TOKENS)
    for width in (WIDTHS[:2] if tiny else WIDTHS)
    for rate in RATES
  ]
