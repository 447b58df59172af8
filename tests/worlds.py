"""Small generated inputs shared by tests: batches of random windows, a straight-road scene."""

import numpy as np

from data import context, motion


def random_batch(batch: int, steps: int = 8, agents: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
  """A model batch of random moves with some invalid, two groups per window."""
  rng = np.random.default_rng(seed)
  shape = (batch, steps, agents)
  group = np.ones((batch, agents), np.uint8)
  group[:, agents * 3 // 4 :] = 2
  return {
    "tokens_BxTxA": rng.integers(0, motion.VOCABULARY, shape).astype(np.int16),
    "mask_BxTxA": rng.random(shape) < 0.9,
    "moving_BxA": rng.random((batch, agents)) < 0.7,
    "features_BxTxAxF": rng.normal(size=(*shape, context.FEATURES)).astype(np.float16),
    "group_BxA": group,
    "type_BxA": rng.integers(0, 8, (batch, agents)).astype(np.uint8),
    "domain_B": rng.integers(0, 3, batch).astype(np.uint8),
  }
