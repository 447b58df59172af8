"""The denoiser: what is wider than its tokens goes around them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models.denoiser import Denoiser
from models.denoiser_config import DenoiserConfig
from models.reading_config import ReadConfig

WIDTH = 8


def test_the_noise_of_every_number_reaches_the_answer():
  """The answer's derivative by the noisy numbers of a token has full rank, though they are more than its width."""
  channels = 3 * WIDTH
  model = Denoiser(DenoiserConfig(1, 1, channels, ReadConfig(WIDTH, WIDTH, 4, "float32"), False))
  time, context, valid = jnp.full(1, 0.3), jnp.ones((1, 2, WIDTH)), jnp.ones((1, 2), bool)
  z = jax.random.normal(jax.random.key(1), (1, 1, channels))
  shapes = nn.unbox(jax.eval_shape(lambda: model.init(jax.random.key(0), z, time, context, valid)["params"]))
  rng = np.random.default_rng(0)  # fresh parameters silence the head and the gain
  params = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)

  def answer(z_C):
    return model.apply({"params": params}, z_C[None, None], time, context, valid)[0, 0]

  assert (
    np.linalg.matrix_rank(np.asarray(jax.jit(jax.jacfwd(answer))(z[0, 0]), np.float64), tol=1e-4) == channels
  )
