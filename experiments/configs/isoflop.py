"""What the ladders share: a compute budget and a width become one run of the motion model.

A config file whose `family()` returns this module can be designed and prescribed for (scaling/advice/family.py).

C = tokens x flops_per_token(width), everything counted: attention, the input and output layers, and the
backward pass. Widths in one budget are spaced so that the loss has its minimum inside.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from experiments.configs import motion

STEPS = AGENTS = 16  # of the windows data.build makes by default


def widths() -> Iterator[int]:
  """Every width of the family, ascending and without end: whole heads, and steps of a tenth or so when wide."""
  yield from (4, 6, 8, 10, 12)
  for start, end, step in ((16, 128, 8), (128, 1024, 32)):
    yield from range(start, end, step)
  yield from itertools.count(1024, 128)


def model(width: int, steps: int = STEPS) -> Any:
  """models.motion_config.MotionConfig of this width, in windows of so many steps: counts its parameters and FLOPs."""
  from data import context
  from data.motion import ACCELERATIONS, YAW_RATES
  from models.motion_config import MotionConfig

  return MotionConfig(
    width=width, layers=motion.depth(width), head_dim=motion.head_dim(width), features=context.FEATURES,
    factors=(len(ACCELERATIONS), len(YAW_RATES)),
    steps=steps, agents=AGENTS, dtype="float32", scan=False, remat="none", adapter=0, prefix=0, heads=0, hidden=0,
  )  # fmt: skip


def flops(width: int, tokens: int, steps: int = STEPS) -> float:
  """C of a run of D moves at this width."""
  return float(tokens * model(width, steps).flops_per_token())


def tokens(width: int, budget: float, steps: int = STEPS) -> int:
  """D that spends a budget of FLOPs at this width."""
  return round(budget / flops(width, 1, steps))


def point(width: int, budget: float, seed: int, made: Any = None) -> dict[str, Any]:
  """Overrides of experiments/configs/motion.py for one run; "trial.flops" orders and times the sweep.

  Args:
    made: the model, where it is not the one that `model` makes of this width.
  """
  made = made or model(width)
  count = round(budget / made.flops_per_token())
  return {
    "model.width": width,
    "model.layers": made.layers,
    "model.head_dim": made.head_dim,
    "tokens": count,
    "data.batch_windows": motion.batch_windows(count),
    "optimizer.learning_rate": motion.learning_rate(count),
    "seed": seed,
    "trial.flops": budget,
  }


def config(width: int, budget: float) -> ConfigDict:
  """The configuration of a run at this width that spends `budget`."""
  made = motion.get_config(f"w{width}")
  made.tokens = tokens(width, budget)
  made.data.batch_windows = motion.batch_windows(made.tokens)
  made.optimizer.learning_rate = motion.learning_rate(made.tokens)
  return made
