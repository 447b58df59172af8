"""What the map and the other agents are worth: each hidden in turn, at two points of the ladder.

Compare with the seeds of the same size and budget in the ladder, the middle sizes of its two largest budgets. The map
hidden hides the agent's own map features; where others are is still told along the road, so the cost is a lower bound.
Expected, and its cost: results/ablation.

  python -m scaling.sweep --config=experiments/configs/motion_ablation.py --workdir=build/ablation
"""

from ml_collections import ConfigDict

from experiments.configs import isoflop, motion_ladder, variants

POINTS = ((16, 1.5e11), (24, 5e11))
TINY = ((8, 4e8),)
SEEDS = (0, 1)


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny",), __file__)
  return motion_ladder.get_config(variant)


def sweep(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny",), __file__)
  return [
    isoflop.point(width, budget, seed) | {"data.blind_to": hidden}
    for width, budget in (TINY if variant == "tiny" else POINTS)
    for hidden in ("map", "agents")
    for seed in SEEDS
  ]
