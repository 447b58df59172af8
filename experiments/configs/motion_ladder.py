"""The fuller ladder: five budgets over two decades, five sizes each, more seeds in the middle.

Policies: the learning rate and the batch of experiments/configs/motion.py, with muP; the rate is chosen on the tuning
split (experiments/configs/motion_rate.py). Expected, and its cost: results/ladder.

  python -m data.build --source=sumo --scenes_per_domain=56 --seed=1 --fractions=0.88,0.03,0.09 --out=build/ladder_data
  python -m scaling.sweep --config=experiments/configs/motion_ladder.py --workdir=build/ladder
  python -m scaling.fit --runs=build/ladder/runs.csv --out=build/law --predict_flops=2e12 --predict_params=37024 \\
    --predict_tokens=7095822
  python -m scaling.sweep --config=experiments/configs/motion_ladder.py:larger --workdir=build/larger
  python -m scaling.fit --runs=build/ladder/runs.csv,build/larger/runs.csv --holdout_budgets=1 --out=build/law
"""

from types import ModuleType

from ml_collections import ConfigDict

from experiments.configs import isoflop, motion, variants

LADDER = {
  5e9: (4, 6, 8, 12, 16),
  1.5e10: (4, 6, 8, 12, 16),
  5e10: (6, 8, 12, 16, 24),
  1.5e11: (8, 12, 16, 24, 32),
  5e11: (12, 16, 24, 32, 40),
}
SEEDS = (1, 2, 3, 2, 1)  # by size, most where the minimum is
LARGER = (32, 2e12)
TINY = {2e8: (4, 6, 8), 4e8: (4, 6, 8)}


def family() -> ModuleType:
  return isoflop


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny", "larger"), __file__)
  config = isoflop.config(*LARGER) if variant == "larger" else motion.get_config(variant or "w16")
  config.data.dataset = "build/ladder_data"
  config.checkpoint.every_steps = 5000
  return config


def sweep(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny", "larger"), __file__)
  if variant == "larger":
    return [isoflop.point(*LARGER, seed) for seed in range(3)]
  ladder = TINY if variant == "tiny" else LADDER
  return [
    isoflop.point(width, flops, seed)
    for flops, widths in ladder.items()
    for place, width in enumerate(widths)
    for seed in range(SEEDS[place])
  ]
