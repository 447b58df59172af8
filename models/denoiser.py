"""A conditional denoiser: noisy numbers, the time and what is known, to a velocity, the noise or v.

Each of S vectors is a token: points of a trajectory, or patches of a future BEV grid. Blocks mix the tokens, read
the context and pass an MLP; each branch is shifted, scaled and gated by the time, at first not at all: DiT's adaptive
norm with gates that begin open, where W. Peebles, S. Xie, arXiv:2212.09748, begin with closed ones. Conditioning by
cross-attention: R. Rombach et al., arXiv:2112.10752. Where a vector has more numbers than its token, its noise cannot
pass through the token, and most of the loss would be noise: there the noisy numbers go around the tokens, by a gain
that depends on the time, as c_skip of T. Karras et al., arXiv:2206.00364, but learned. Patches of a grid read near
themselves first, as heads do (models/reading.py): what comes next somewhere is mostly what is there now.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import geometry
from models.denoiser_config import TIME_BANDS, ConditionalConfig, DenoiserConfig
from models.layers import MLP, Attention, RMSNorm, repeat, weight
from models.perception import PerceptionModel
from models.reading import CrossAttention, linear

BRANCHES = 3


class Block(nn.Module):
  """Self-attention, reading, MLP: y + (1 + gate) * branch(norm(y) * (1 + scale) + shift), all three of the time.

  The last weights of attention begin at zero; behind a gate that does, too, they would never wake.
  """

  config: DenoiserConfig

  @nn.compact
  def __call__(self, y_NxSxD, time_NxD, x_NxCxE, valid_NxC, apart_NxSxC):
    c, dtype = self.config, jnp.dtype(self.config.read.dtype)
    width, n = c.read.width, y_NxSxD.shape[1]
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("embed", "act_embed"))
    kernel = self.param("modulation", zeros, (width, 3 * BRANCHES * width), jnp.float32)
    shift, scale, gate = jnp.split((time_NxD @ kernel)[:, None].reshape(-1, 1, BRANCHES, 3 * width), 3, -1)
    mix = Attention(
      c.read.heads, c.read.head_dim, dtype, positional=False, prefix=0, block=0, name="attention"
    )
    cross = CrossAttention(c.read, name="reading")
    mlp = MLP(4 * width, dtype, c.layers, name="mlp")
    branches: tuple[Callable, ...] = (
      lambda h: mix(h, lambda row_Q: jnp.ones((1, 1, len(row_Q), n), bool)),
      lambda h: cross(h, x_NxCxE, valid_NxC, apart_NxSxC),
      mlp,
    )
    for i, branch in enumerate(branches):
      h = RMSNorm(name=f"norm_{i}")(y_NxSxD) * (1 + scale[:, :, i]) + shift[:, :, i]
      y_NxSxD = y_NxSxD + (1 + gate[:, :, i]) * branch(h).astype(jnp.float32)
    return y_NxSxD, None


class Denoiser(nn.Module):
  """apply({"params": p}, z_NxSxC, time_N, x_NxCxE, valid_NxC, place_Cx2) -> [N, S, C] float32; time in [0, 1].

  place_Cx2: where what is read lies, m, NaN for what is of no place; not looked at without config.grid.
  head(tokens), and where config.around also gain(time) z: zero at first.
  """

  config: DenoiserConfig

  @nn.compact
  def __call__(self, z_NxSxC, time_N, x_NxCxE, valid_NxC, place_Cx2):
    c, width = self.config, self.config.read.width
    angle = time_N[:, None] * (jnp.pi * 2.0 ** jnp.arange(TIME_BANDS))[None]
    waves = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)
    time = jax.nn.silu(linear(self, "time_stem", waves, width, (2 * TIME_BANDS) ** -0.5, 0.0))
    place = weight(self, "place", (c.tokens, width), (None, "table"), 1)
    y = linear(self, "into_stem", z_NxSxC, width, c.channels**-0.5, 0.0) + place[None]
    apart = None
    if c.grid is not None:
      apart = geometry.apart(jnp.asarray(geometry.patch_centres(c.grid))[None], place_Cx2, c.grid.patch_m)
    y = repeat(Block, (c,), "block", c.layers, c.scan, "none", y, time, x_NxCxE, valid_NxC, apart)
    answer = linear(self, "head", RMSNorm(name="norm")(y), c.channels, 0.0, 0.0)
    return answer + linear(self, "gain", time, 1, 0.0, 0.0)[:, None] * z_NxSxC if c.around else answer


class ConditionalDenoiser(nn.Module):
  """apply({"params": p}, batch, z_BxTxSxC, time_B) -> [B, T, S, C]: what comes next at each step, given its past.

  T here is without the last `config.skipped` steps of the clip.
  """

  config: ConditionalConfig

  def setup(self):
    self.perception = PerceptionModel(self.config.perception)
    self.denoiser = Denoiser(self.config.denoiser)

  def __call__(self, batch, z_BxTxSxC, time_B):
    x_BxTxSxD, valid_BxTxS = self.perception(batch)
    return self.denoise(x_BxTxSxD, valid_BxTxS, z_BxTxSxC, time_B)

  def tokens(self, batch):
    """(x_BxTxSxD, valid_BxTxS), as of the perception model: what `denoise` reads, once for all its calls."""
    return self.perception(batch)

  def denoise(self, x_BxTxSxD, valid_BxTxS, z_BxTxSxC, time_B):
    b, t, s, c = z_BxTxSxC.shape
    x, valid = x_BxTxSxD[:, :t], valid_BxTxS[:, :t]
    said = self.denoiser(
      z_BxTxSxC.reshape(b * t, s, c),
      jnp.repeat(time_B, t),
      x.reshape(b * t, *x.shape[2:]),
      valid.reshape(b * t, -1),
      geometry.token_places(self.config.perception),
    )
    return said.reshape(b, t, s, c)
