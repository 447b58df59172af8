"""Codes of a network as tokens: what the network says, in the places it says it of."""

import types

import numpy as np
import pytest

from data.learned_tokens import LearnedTokens
from models.bev_tokeniser import BevTokeniser
from tests.bev_tokenisers import FINITE, LEARNED, initial_params, learned_tokens


@pytest.mark.parametrize("config", [LEARNED, FINITE], ids=["vq", "fsq"])
def test_a_learned_tokeniser_gives_what_its_network_reconstructs(config):
  tokeniser = learned_tokens(config)
  cells = np.random.default_rng(1).integers(0, 5, (2, 3, 8, 8))
  out = BevTokeniser(config).apply({"params": initial_params(config)}, {"cells_BxTxHxW": cells})
  made = tokeniser.encode(cells)
  np.testing.assert_array_equal(made.values.reshape(out["index_BxTxS"].shape), out["index_BxTxS"])
  np.testing.assert_array_equal(tokeniser.decode(made), out["logits_BxTxHxWxV"].argmax(-1))
  np.testing.assert_array_equal(made.positions[0, 4 + 3], [1, 1, 1])  # frame 1, the last of its 2 x 2 patches
  alone = tokeniser.encode(cells[0])  # without a leading axis
  np.testing.assert_array_equal(alone.values, made.values[0])


def test_a_network_that_loses_nothing_gives_its_cells_back():
  """Patches of 2 x 2 cells of two classes are 16 codes: there and back is bit for bit, each patch in its place."""

  def to_codes(cells):
    patches = cells.reshape(*cells.shape[:2], 3, 2, 3, 2).swapaxes(3, 4).reshape(*cells.shape[:2], 9, 4)
    return (patches * [1, 2, 4, 8]).sum(-1)

  def to_cells(index):
    patches = index[..., None] // np.array([1, 2, 4, 8]) % 2
    return patches.reshape(*index.shape[:2], 3, 3, 2, 2).swapaxes(3, 4).reshape(*index.shape[:2], 6, 6)

  shape = types.SimpleNamespace(grid=6, patch=2, classes=2, vocabulary=16)
  tokeniser = LearnedTokens(shape, to_codes, to_cells)
  cells = np.random.default_rng(0).integers(0, 2, (2, 3, 6, 6))
  np.testing.assert_array_equal(tokeniser.decode(tokeniser.encode(cells)), cells)
