"""The denoiser: what is wider than its tokens goes around them; patches read near themselves first."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import geometry
from models.denoiser import Denoiser
from models.denoiser_config import DenoiserConfig
from models.reading_config import ReadConfig
from models.sensors_config import GridConfig

WIDTH = 8


def _params(model, *inputs):
  """Drawn: fresh ones silence the head, the gain and what is read."""
  shapes = nn.unbox(jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs)["params"]))
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)


def test_the_noise_of_every_number_reaches_the_answer():
  """The answer's derivative by the noisy numbers of a token has full rank, though they are more than its width."""
  channels = 3 * WIDTH
  model = Denoiser(DenoiserConfig(1, 1, channels, ReadConfig(WIDTH, WIDTH, 4, "float32"), False, None))
  given = jnp.full(1, 0.3), jnp.ones((1, 2, WIDTH)), jnp.ones((1, 2), bool), np.full((2, 2), np.nan)
  z = jax.random.normal(jax.random.key(1), (1, 1, channels))
  params = _params(model, z, *given)

  def answer(z_C):
    return model.apply({"params": params}, z_C[None, None], *given)[0, 0]

  assert (
    np.linalg.matrix_rank(np.asarray(jax.jit(jax.jacfwd(answer))(z[0, 0]), np.float64), tol=1e-4) == channels
  )


def test_a_patch_reads_what_lies_on_it_first():
  """With reaches of a hundredth of a patch, a token of the context is read by the patch under it alone."""
  grid = GridConfig(4, 2, 1.0, 2.0)
  model = Denoiser(DenoiserConfig(1, 4, 3, ReadConfig(WIDTH, WIDTH, 4, "float32"), False, grid))
  keys = jax.random.split(jax.random.key(0), 2)
  z, x = jax.random.normal(keys[0], (1, 4, 3)), jax.random.normal(keys[1], (1, 4, WIDTH))
  given = jnp.ones((1, 4), bool), geometry.patch_centres(grid)
  params = _params(model, z, jnp.full(1, 0.3), x, *given)
  answer = jax.jit(lambda params, x: model.apply({"params": params}, z, jnp.full(1, 0.3), x, *given)[0])

  def moved(octave):
    """[4]: how far the answer of each patch moves with the first token of the context."""
    params["block_0"]["reading"]["reach_scale"] = np.full(2, octave, np.float32)
    return np.abs(answer(params, x.at[:, 0].add(1.0)) - answer(params, x)).max(-1)

  near = moved(np.log2(0.01))
  assert near[0] > 1e-2 and near[1:].max() == 0
  assert moved(10.0).min() > 1e-3  # a reach of a thousand patches


def test_tokens_that_are_no_grid_are_refused():
  with pytest.raises(ValueError, match="5 tokens are no grid of 4 patches"):
    DenoiserConfig(1, 5, 3, ReadConfig(WIDTH, WIDTH, 4, "float32"), False, GridConfig(4, 2, 1.0, 2.0))
