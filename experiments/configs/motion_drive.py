"""Runs whose driving is scored: twelve sizes, each with the compute at which it is about the best size, three seeds.

All have two layers, so that sizes can follow the least loss of results/ladder (nearly) over three decades of
compute. Policies: the learning rate and the batch of experiments/configs/motion.py, with muP. What came of it:
results/drive_law.

  python -m data.build --source=sumo --scenes_per_domain=17 --out=build/sumo
  python -m scaling.sweep --config=experiments/configs/motion_drive.py --workdir=build/drive
"""

import dataclasses
from types import ModuleType

from ml_collections import ConfigDict

from experiments.configs import isoflop, motion, variants

WIDTHS = (4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40)
LEAST, MOST = 2.5e9, 2e12  # FLOPs of the first and the last width; the same ratio from each to the next
LAYERS = 2
SEEDS = 3


def family() -> ModuleType:
  return isoflop


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny",), __file__)
  config = motion.get_config(variant or "w16")
  config.checkpoint.every_steps = 5000
  return config


def sweep(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny",), __file__)
  if variant == "tiny":
    return [point(width, 2e8, 0) for width in WIDTHS[:2]]
  ratio = (MOST / LEAST) ** (1 / (len(WIDTHS) - 1))
  return [
    point(width, LEAST * ratio**place, seed) for place, width in enumerate(WIDTHS) for seed in range(SEEDS)
  ]


def point(width: int, flops: float, seed: int) -> dict:
  """`isoflop.point` of a model of two layers."""
  model = dataclasses.replace(isoflop.model(width), layers=LAYERS)
  return isoflop.point(width, flops, seed, model)
