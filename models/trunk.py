"""The trunk: mixes the tokens of a clip, S of them at each of T steps, by attention over both axes or in turn.

Rotary angles tell steps apart. Places within a step are told apart by what encoders add to their tokens, so that
the same weights serve any number of them. Invalid tokens are seen by nobody; what comes out at them means nothing.
"""

import flax.linen as nn
import jax.numpy as jnp

from models.layers import MLP, Attention, RMSNorm, repeat
from models.trunk_config import TrunkConfig


class Block(nn.Module):
  """Mixing over "full" clips, "space" or "time" of x [B, T, S, D], then an MLP, both pre-normalised residual."""

  config: TrunkConfig
  over: str

  @nn.compact
  def __call__(self, x_BxTxSxD, valid_BxTxS):
    b, t, s, d = x_BxTxSxD.shape
    c, over = self.config, self.over
    causal = c.causal and over == "time"
    attention = Attention(c.heads, c.head_dim, jnp.dtype(c.dtype), over != "space", causal, name="attention")
    y = RMSNorm(name="attention_norm")(x_BxTxSxD)
    # A token always sees itself: a softmax over nobody would be NaN.
    if over == "time":
      seen = valid_BxTxS.swapaxes(1, 2).reshape(b * s, 1, 1, t) | jnp.eye(t, dtype=bool)[None, None]
      y = attention(y.swapaxes(1, 2).reshape(b * s, t, d), seen).reshape(b, s, t, d).swapaxes(1, 2)
    elif over == "space":
      seen = valid_BxTxS.reshape(b * t, 1, 1, s) | jnp.eye(s, dtype=bool)[None, None]
      y = attention(y.reshape(b * t, s, d), seen).reshape(b, t, s, d)
    else:
      time = jnp.arange(t * s) // s
      earlier = (time[:, None] >= time[None, :]) | (not c.causal)
      seen = valid_BxTxS.reshape(b, 1, 1, t * s) & earlier[None, None]
      seen |= jnp.eye(t * s, dtype=bool)[None, None]
      y = attention(y.reshape(b, t * s, d), seen, time).reshape(b, t, s, d)
    x_BxTxSxD = _residual(x_BxTxSxD + y.astype(jnp.float32))
    y = MLP(4 * d, jnp.dtype(c.dtype), c.layers, name="mlp")(RMSNorm(name="mlp_norm")(x_BxTxSxD))
    return _residual(x_BxTxSxD + y.astype(jnp.float32))


class Unit(nn.Module):
  """One block of each kind that the mixing alternates between: what is scanned over depth."""

  config: TrunkConfig

  @nn.compact
  def __call__(self, x, valid):
    for over in self.config.unit:
      x = Block(self.config, over, name=over)(x, valid)
    return x, None


class Trunk(nn.Module):
  """apply({"params": p}, x_BxTxSxD float, valid_BxTxS bool) -> x_BxTxSxD float32, normalised."""

  config: TrunkConfig

  @nn.compact
  def __call__(self, x_BxTxSxD, valid_BxTxS):
    c = self.config
    x = _residual(x_BxTxSxD.astype(jnp.float32))
    x = repeat(Unit, (c,), "unit", c.layers // len(c.unit), c.scan, c.remat, x, valid_BxTxS)
    return RMSNorm(name="final_norm")(x)


def _residual(x):
  return nn.with_logical_constraint(x, ("batch", "time", "space", "act_embed"))
