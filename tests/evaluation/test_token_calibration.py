"""Calibration of stated moves: a model whose probabilities are known, against frequencies by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from data import motion
from evaluation import token_calibration
from evaluation.token_calibration import scores, stated

SURE = 0.75  # stated for KEEP, the rest for the move after it
OTHER = motion.KEEP + 1


class Source:
  """Three windows of two steps and two agents; the second agent does not move, a place of the last is not asked."""

  def __init__(self):
    keep, other = motion.KEEP, OTHER
    self.arrays = {
      "tokens_TxA": np.array(
        [[[keep, keep], [keep, keep]], [[keep, keep], [other, keep]], [[keep, 0], [other, 0]]]
      ),
      "mask_TxA": np.array([[[1, 1], [1, 1]], [[1, 1], [1, 1]], [[1, 0], [1, 0]]], bool),
      "moving_A": np.array([[1, 0], [1, 0], [1, 0]], bool),
      "domain": np.array([0, 0, 1], np.uint8),
      "scene": np.array([7, 7, 9], np.int32),
    }

  def __len__(self):
    return 3

  def stacked(self, rows):
    return {name: value[rows] for name, value in self.arrays.items()}


def apply(_, batch):
  shape = (*batch["tokens_BxTxA"].shape, motion.VOCABULARY)
  return jnp.full(shape, -99.0).at[..., motion.KEEP].set(np.log(SURE)).at[..., OTHER].set(np.log(1 - SURE))


def to_batch(stacked):
  return {"tokens_BxTxA": stacked["tokens_TxA"], "mask_BxTxA": stacked["mask_TxA"]}


@pytest.fixture(scope="module")
def found():
  return stated(apply, {}, to_batch, Source())


def test_moves_are_counted_once_by_part_and_domain(found):
  """Ten moves count, eight of them KEEP; of the six of moving agents four."""
  every = np.ones(3, bool)
  for part, inside, moves, right in (
    ("all", every, 10, 8), ("moving", every, 6, 4), ("all", found.domain_W == 1, 2, 1),
  ):  # fmt: skip
    one = scores(found, part, inside)
    share = right / moves
    assert (one["moves"], one["accuracy"]) == (moves, share)
    assert one["nll"] == pytest.approx(-share * np.log(SURE) - (1 - share) * np.log(1 - SURE), rel=1e-5)
    brier = share * 2 * (1 - SURE) ** 2 + (1 - share) * 2 * SURE**2
    assert one["brier"] == pytest.approx(brier, rel=1e-5)
    assert one["ece_equal_width"] == pytest.approx(abs(share - SURE), rel=1e-5)
    assert one["auc"] == 0.5, "always as sure"
    assert (one["ci95"]["nll"] is None) == (part == "all" and inside is not every), "of one scene"
    assert not one["ci95"]["nll"] or one["ci95"]["nll"][0] < one["nll"] < one["ci95"]["nll"][1]
  assert scores(found, "all", ~every) == {"moves": 0}
  assert scores(found, "all", np.array([True, False, False]))["auc"] is None, "always right"


def test_equal_masses_see_what_equal_widths_hide(found):
  """Two confidences in one bin of equal width, 5 points too high and too low: they cancel there alone."""
  arrays = dict(
    confidence_WxTxA=np.repeat([0.81, 0.85], 60).reshape(1, 120, 1).astype(np.float32),
    correct_WxTxA=np.concatenate([np.arange(60) < 0.86 * 60, np.arange(60) < 0.80 * 60]).reshape(1, 120, 1),
    mask_WxTxA=np.ones((1, 120, 1), bool), moving_WxA=np.ones((1, 1), bool), domain_W=np.zeros(1, int),
    scene_W=np.zeros(1, int),
    nll_W={"all": np.zeros(1)}, brier_W={"all": np.zeros(1)},
  )  # fmt: skip
  one = scores(token_calibration.Stated(**arrays), "all", np.ones(1, bool))
  assert one["ece_equal_width"] < 0.005 < 0.04 < one["ece_equal_mass"]
