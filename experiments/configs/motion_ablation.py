"""What the map and the other agents are worth: each hidden in turn, at one point of the ladder.

Compare with the seeds of the same size and budget in the ladder. Expected, and its cost: results/ablation.

  python -m scaling.sweep --config=experiments/configs/motion_ablation.py --workdir=build/ablation
"""

from ml_collections import ConfigDict

from experiments.configs import isoflop, motion_ladder, variants

WIDTH, FLOPS, SEEDS = 16, 1.5e11, (0, 1)


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny",), __file__)
  return motion_ladder.get_config(variant)


def sweep(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny",), __file__)
  flops = 4e8 if variant == "tiny" else FLOPS
  return [
    isoflop.point(WIDTH, flops, seed) | {"data.blind_to": hidden}
    for hidden in ("map", "agents")
    for seed in SEEDS
  ]
