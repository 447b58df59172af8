"""The learned tokeniser: patches come back where they were, frames do not mix, counts are exact, codes stay in use."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models import vq
from models.bev_tokeniser import BevTokeniser
from objectives import reconstruction
from tests.bev_tokenisers import FINITE, LEARNED, initial_params

CONFIGS = pytest.mark.parametrize("config", [LEARNED, FINITE], ids=["vq", "fsq"])


def _batch(batch=2, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "cells_BxTxHxW": rng.integers(0, 5, (batch, 3, 8, 8)).astype(np.uint8),
    "real_B": np.ones(batch, bool),
    "domain_B": np.zeros(batch, np.uint8),
  }


@CONFIGS
def test_codes_decode_to_what_the_model_reconstructs(config):
  model, variables, batch = BevTokeniser(config), {"params": initial_params(config)}, _batch()
  out = model.apply(variables, batch)
  index, _ = model.apply(variables, batch["cells_BxTxHxW"], method="encode")
  np.testing.assert_array_equal(index, out["index_BxTxS"])
  assert index.shape == (2, 3, config.places) and index.max() < config.vocabulary
  logits = model.apply(variables, index, method="decode")
  np.testing.assert_allclose(logits, out["logits_BxTxHxWxV"], rtol=1e-4, atol=1e-5)


def test_a_patch_is_read_and_written_at_its_own_place():
  """Without attention (zero at first) a cell reaches the code of its patch alone, and a code its patch's cells."""
  model, variables, batch = BevTokeniser(FINITE), {"params": initial_params(FINITE)}, _batch(1)
  cells = batch["cells_BxTxHxW"]
  embed = jax.jit(lambda cells: model.apply(variables, cells, method="embed"))
  before = embed(cells)
  cells[0, 1, 2, 5] = (cells[0, 1, 2, 5] + 1) % 5  # row 0, column 1 of the 2 x 2 patches
  moved = np.abs(embed(cells) - before).max(-1) > 0
  assert np.argwhere(moved).tolist() == [[0, 1, 1]]
  index = jnp.zeros((1, 1, 4), jnp.int32)
  decode = jax.jit(lambda index: model.apply(variables, index, method="decode"))
  moved = np.abs(decode(index.at[0, 0, 2].set(5)) - decode(index)).max(-1)[0, 0] > 0
  expected = np.zeros((8, 8), bool)
  expected[4:, :4] = True
  np.testing.assert_array_equal(moved, expected)


def _codebook(x_NxE, index_N, weight_N, key):
  return vq.sums(x_NxE, index_N, weight_N, LEARNED.codes), vq.candidates(x_NxE, LEARNED.codes, key)


def _loss(config, apply=None):
  return reconstruction.make_loss(
    apply or BevTokeniser(config).apply,
    functools.partial(vq.uses, codes=config.vocabulary),
    _codebook if config.codes else None,
    commitment=0.25 if config.codes else 0.0,
    domains=2,
  )


def test_the_loss_is_its_closed_form_and_leaves_out_what_is_not_real():
  rng = np.random.default_rng(0)
  batch = _batch(3)
  batch["real_B"][2] = False
  batch["domain_B"][1] = 1
  out = {
    "logits_BxTxHxWxV": jnp.zeros((3, 3, 8, 8, 5)),
    "encoded_BxTxSxE": jnp.float32(rng.normal(size=(3, 3, 4, 3))),
    "quantised_BxTxSxE": jnp.float32(rng.normal(size=(3, 3, 4, 3))),
    "index_BxTxS": jnp.int32(rng.integers(0, 8, (3, 3, 4))),
  }
  found = _loss(LEARNED, lambda variables, batch: out)({}, batch, jax.random.key(0))
  cells, far = 2 * 3 * 64, ((out["encoded_BxTxSxE"] - out["quantised_BxTxSxE"])[:2] ** 2).mean()
  assert found["loss"] == pytest.approx((cells * np.log(5), cells), rel=1e-5)
  assert float(found["objective"][0]) / cells == pytest.approx(np.log(5) + 0.25 * float(far), rel=1e-5)
  np.testing.assert_allclose(found["by_domain"][1], [cells / 2, cells / 2])
  counts = np.bincount(np.asarray(out["index_BxTxS"])[:2].ravel(), minlength=8)
  np.testing.assert_array_equal(found["codes"][1], counts)
  assert found["accuracy"][0] == (batch["cells_BxTxHxW"][:2] == 0).sum()
  finite = _loss(FINITE, lambda variables, batch: out)({}, batch, jax.random.key(0))
  assert found.keys() - finite.keys() == {"codes", "candidates"}, (
    "nothing is added up for codes that do not move"
  )
  assert finite["perplexity"] == found["perplexity"]


@pytest.mark.parametrize(
  ("config", "kinds", "rate", "steps", "right"),
  [(LEARNED, 6, 1e-2, 150, 0.9), (FINITE, 24, 3e-3, 600, 0.7)],
  ids=["vq", "fsq"],
)
def test_a_short_fit_reconstructs_a_known_mixture_and_uses_over_half_of_its_codes(
  config, kinds, rate, steps, right
):
  """Patches are one of so many patterns: after a fit most cells come back, and the perplexity is over half the codes.

  Finite scalars are fitted without commitment, as in training: with it, a perplexity of 8 out of 24 was seen.
  """
  rng = np.random.default_rng(0)
  patterns = rng.integers(0, 5, (kinds, 4, 4))
  model, loss_fn, tx = BevTokeniser(config), _loss(config), optax.adam(rate)

  def draw():
    grid = patterns[rng.integers(0, kinds, (4, 3, 2, 2))].swapaxes(3, 4).reshape(4, 3, 8, 8)
    return _batch(4) | {"cells_BxTxHxW": grid.astype(np.uint8)}

  @jax.jit
  def step(params, opt, batch, key):
    def objective(params):
      metrics = loss_fn(params, batch, key)
      return metrics["objective"][0] / metrics["objective"][1], metrics

    gradients, metrics = jax.grad(objective, has_aux=True)(params)
    updates, opt = tx.update(gradients, opt, params)
    params = optax.apply_updates(params, updates)
    if "quantiser" in params:
      book = vq.follow(params["quantiser"], *metrics["codes"], 0.9)
      params |= {"quantiser": vq.revive(book, metrics["candidates"][0], 0.2)}
    return params, opt, metrics

  params = initial_params(config)
  assert model.config is config
  opt = tx.init(params)
  for i in range(steps):
    params, opt, metrics = step(params, opt, draw(), jax.random.key(i))
  assert metrics["accuracy"][0] / metrics["accuracy"][1] > right
  assert metrics["perplexity"][0] > 0.5 * config.vocabulary


def test_shapes_that_do_not_fit_together_are_refused():
  with pytest.raises(ValueError, match="not 1 of"):
    dataclasses.replace(LEARNED, patch=2)
  with pytest.raises(ValueError, match="either levels"):
    dataclasses.replace(LEARNED, levels=(3, 3))
  with pytest.raises(ValueError, match="2 or more"):
    dataclasses.replace(FINITE, levels=(3, 1))
