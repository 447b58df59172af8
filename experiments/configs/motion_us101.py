"""The motion model on real logs: NGSIM US-101 as CommonRoad scenarios, split by overlap.

Few unique moves, of one freeway: a small model, weight decay and few passes, or it overfits.
Expected: below constant velocity on moving agents at 3 s (results/us101).

  python -m data.build --source=commonroad --input=DIR --out=build/us101 --phases=5 --fractions=0.7,0.05,0.25
  python -m experiments.train --config=experiments/configs/motion_us101.py --workdir=build/us101_run
  python -m evaluation.forecast --run=build/us101_run --out=build/us101_forecast --pieces=1
"""

from ml_collections import ConfigDict

from experiments.configs import motion, variants


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny",), __file__)
  config = motion.get_config("w16")
  config.tokens = 100_000 if variant == "tiny" else 400_000
  config.data.dataset = "build/us101"
  config.data.batch_windows = 4
  config.optimizer.learning_rate = 0.01
  config.optimizer.weight_decay = 0.1
  return config
