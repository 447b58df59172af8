"""The motion model with and without bad dreams among its logs, at equal steps.

  python -m evaluation.dream --run=build/run --out=build/dreams
  python -m experiments.train --config=experiments/configs/motion_dreams.py:with \
    --config.data.dataset=build/dreams --workdir=build/with

Both variants read the same dataset, so that steps, moves and everything else agree; "without" leaves its dreams out.
"tiny" is "with", of few moves.
What came of it: results/dreams.
"""

from ml_collections import ConfigDict

from data.sumo import DOMAINS
from experiments.configs import motion, variants

TOKENS = 2_600_000  # an epoch of `make demo`'s dataset
SHARE = 0.25  # of the records read


def get_config(variant: str = "with") -> ConfigDict:
  variants.require(variant, ("with", "without", "tiny"), __file__)
  tokens = 100_000 if variant == "tiny" else TOKENS
  config = motion.get_config("w16")
  config.tokens = tokens
  config.data.batch_windows = motion.batch_windows(tokens)
  config.optimizer.learning_rate = motion.learning_rate(tokens)
  if variant == "without":
    config.data.mixture.only = "domain=" + "|".join(DOMAINS)
  else:
    config.data.mixture.update(replay="domain=dream", replay_share=SHARE)
  return config
