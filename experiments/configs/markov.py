"""The motion model on tokens of known entropy (data.markov): the end-to-end check of loss, training and fit.

  python -m data.build --source=markov --out=build/markov --scenes_per_domain=500 --steps=160 --window_steps=8 \
    --fractions=0.84,0.06,0.1
  python -m scaling.sweep --config=experiments/configs/markov.py --config.data.dataset=build/markov \
    --workdir=build/known_entropy
  python -m scaling.fit --runs=build/known_entropy/runs.csv --out=build/known_entropy/law

Model, loss, loop and optimiser are those of experiments/configs/motion.py; "tiny" is four small runs. What came of
it: results/known_entropy.
"""

from ml_collections import ConfigDict

from experiments.configs import isoflop, motion, variants

STEPS = 8  # per window: the past that an order of 2 needs is soon found among few steps
BATCH = 2  # windows, 256 tokens
LADDER = {
  2e10: (6, 8, 12, 16, 24),
  4e10: (6, 8, 12, 16, 24),
  8e10: (8, 12, 16, 24, 32),
  1.6e11: (8, 12, 16, 24, 32),
}
TINY = {2e8: (4, 6), 4e8: (4, 6)}


def learning_rate(tokens: int) -> float:
  """At width 32, as experiments/configs/motion.py says, half as high again: from runs of 0.2 and 0.4 M tokens."""
  return 0.012 * (4e5 / tokens) ** 0.25


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny",), __file__)
  config = motion.get_config("w16")
  config.data.dataset = "build/markov"
  if variant == "tiny":
    config.tokens = 100_000
  config.data.batch_windows = BATCH
  config.optimizer.learning_rate = learning_rate(config.tokens)
  return config


def sweep(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny",), __file__)
  ladder = TINY if variant == "tiny" else LADDER
  return [_point(width, budget) for budget, widths in ladder.items() for width in widths]


def _point(width: int, budget: float) -> dict:
  tokens = isoflop.tokens(width, budget, STEPS)
  return {
    "model.width": width,
    "model.layers": motion.depth(width),
    "model.head_dim": motion.head_dim(width),
    "tokens": tokens,
    "optimizer.learning_rate": learning_rate(tokens),
    "trial.flops": budget,
  }
