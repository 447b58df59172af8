"""Small learned tokenisers, at random initialisation."""

import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np

from data.learned_tokens import LearnedTokens
from models.bev_tokeniser import BevTokeniser, halves
from models.bev_tokeniser_config import BevTokeniserConfig
from models.trunk_config import TrunkConfig

TRUNK = TrunkConfig(
  width=16, layers=1, head_dim=8, mixing="full", state=0, chunk=0, causal=False, steps=1, space=4,
  dtype="float32", scan=False, remat="none", block=0, adapter=0, prefix=0, heads=0, hidden=0,
)  # fmt: skip
LEARNED = BevTokeniserConfig(grid=8, patch=4, classes=5, levels=(), codes=8, code_dim=3, trunk=TRUNK)
FINITE = dataclasses.replace(LEARNED, levels=(4, 3, 2), codes=0, code_dim=0)


@functools.cache
def initial_params(config: BevTokeniserConfig) -> dict:
  cells = np.zeros((1, 1, config.grid, config.grid), np.uint8)
  return nn.unbox(jax.jit(BevTokeniser(config).init)(jax.random.key(0), {"cells_BxTxHxW": cells})["params"])


def learned_tokens(config: BevTokeniserConfig) -> LearnedTokens:
  return LearnedTokens(config, *halves(BevTokeniser(config), initial_params(config)))
