"""The motion world model on simulated logs: one run.

Paper: a decoder-only motion-token model in the line of MotionLM (arXiv:2309.16534) and SMART
(arXiv:2405.15677).

  python -m data.build --source=sumo --out=build/sumo
  python -m experiments.train --config=experiments/configs/motion.py --config.data.dataset=build/sumo \
    --workdir=build/run

Variants: "w" and a width (one rule from thousands of parameters, "w8", to tens of millions, "w512", and billions,
"w4096"), "tiny" (20 seconds). What it reaches: results/README.md.

The learning rate is that of a run from scratch. Low-rank deltas over a finished run bear it too, and learn their site
best with it; at 0.002 they lose a third as much elsewhere for two thirds of the gain (results/adaptation).

Tiny runs (results/objectives):
  "next_token" beats its random-init probe by 0.46 +- 0.08 (3 seeds) on acceleration.
"""

import math
import re
from types import ModuleType

from ml_collections import ConfigDict

from experiments.configs import sections, variants


def depth(width: int) -> int:
  """The ladder's one rule: an even depth that grows with the square root of the width, 2 up to width 32."""
  return 2 * max(1, round(math.sqrt(width / 16)))


def head_dim(width: int) -> int:
  """One head up to width 14, then heads of 8 (two heads where 8 does not divide the width), 16, 32 and at last 128."""
  if width < 16:
    return width
  if width < 32 or width % 16:
    return width // 2 if width % 8 else 8
  return 16 if width < 128 else 32 if width < 1024 else 128


def batch_windows(tokens: int) -> int:
  """Batch policy: one window (about 230 moves) up to 2.25 M moves, then as the square root of the data."""
  return max(1, round(math.sqrt(tokens / 1e6)))


def learning_rate(tokens: int) -> float:
  """At width 32: 0.008 at 0.4 M moves, falling as the fourth root of the data, times the root of the batch.

  Both from the tuning split (results/rate). The root of the batch: S. Malladi et al., arXiv:2205.10287.
  """
  return 0.008 * (4e5 / tokens) ** 0.25 * math.sqrt(batch_windows(tokens))


def family() -> ModuleType:
  """What turns a width and a budget into a run of this model."""
  from experiments.configs import isoflop

  return isoflop


def get_config(variant: str = "w32") -> ConfigDict:
  variant = variant or "w32"
  if not re.fullmatch(r"w[1-9]\d*", variant):
    variants.require(variant, ("tiny", "w8", "w32", "w128", "w512"), __file__)
  width = 8 if variant == "tiny" else int(variant.removeprefix("w"))
  tokens = 100_000 if variant == "tiny" else 2_000_000
  return ConfigDict(
    dict(
      family="motion",
      objective="next_token",
      seed=0,
      tokens=tokens,
      log_every=20,
      tensorboard=False,
      model=dict(
        width=width,
        layers=depth(width),
        head_dim=head_dim(width),
        **sections.UNPRUNED,
        dtype="float32",
        scan=False,
        remat="none",
      ),
      loss=dict(z_weight=1e-4),
      start=dict(sections.FROM_SCRATCH),
      adaptation=dict(sections.ALL_WEIGHTS),
      data=dict(
        dataset="build/sumo",
        train_split="train",
        eval_split="validation",
        batch_windows=2 if variant == "tiny" else batch_windows(tokens),  # two processes can share it
        unique_windows=0,
        read_threads=2,
        blind_to="",
        mixture=dict(sections.NATURAL),
      ),
      optimizer=dict(
        learning_rate=learning_rate(tokens),
        base_width=32,
        schedule="cosine",
        warmup=0.05,
        final=0.05,
        weight_decay=0.0,
        clip=1.0,
        b1=0.9,
        b2=0.98,
        accumulate=1,
      ),
      mesh=dict(sections.ONE_DEVICE),
      checkpoint=dict(every_steps=500, keep=2),
      probe=dict(sections.NO_PROBES),
      recovery=dict(sections.ROLL_BACK),
    )
  )
