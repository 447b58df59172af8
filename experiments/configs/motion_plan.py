"""Motion world models of 1, 8 and 70 billion parameters: shapes to plan for, before anything is rented.

Widths and head counts are powers of two, so that many meshes divide; depths give the size that is named. Layers are
scanned (one compiled pair for all) and multiplied in bfloat16; the backward pass finds the matmuls' results and makes
the rest again (--config.model.remat=full keeps less, for slices with little memory).

  python -m scaling.plan --config=experiments/configs/motion_plan.py:1b --topology=v5e:16x16 --out=build/plan_1b
  python -m scaling.plan --config=experiments/configs/motion_plan.py:8b --topology=v5p:16x16x16 --out=build/plan_8b
  python -m scaling.plan --config=experiments/configs/motion_plan.py:70b --topology=v5p:16x16x16 --out=build/plan_70b

Variants: "1b", "8b", "70b"; "tiny" compiles in seconds. Expected: results/plan.
"""

from ml_collections import ConfigDict

from experiments.configs import motion, variants

SHAPES = {  # width, layers, windows per step (256 positions each)
  "tiny": (64, 4, 64),
  "1b": (2048, 20, 4096),
  "8b": (4096, 40, 16384),
  "70b": (8192, 86, 16384),
}


def get_config(variant: str = "1b") -> ConfigDict:
  variant = variant or "1b"
  variants.require(variant, tuple(SHAPES), __file__)
  width, layers, windows = SHAPES[variant]
  config = motion.get_config(f"w{width}")
  config.model.layers = layers
  config.model.scan = True
  config.model.remat = "dots"
  config.model.dtype = "bfloat16"
  config.data.batch_windows = windows
  if variant == "tiny":
    config.tokens = 100_000
  return config
