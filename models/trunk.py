"""The trunk: mixes the tokens of a clip, S of them at each of T steps, by attention over both axes or in turn,
or by recurrences.

Rotary angles tell steps apart. Places within a step are told apart by what encoders add to their tokens, so that
the same weights serve any number of them. Invalid tokens are seen by nobody; what comes out at them means nothing.
"""

import flax.linen as nn
import jax.numpy as jnp

from models.adapters import Bottleneck
from models.layers import MLP, Attention, RMSNorm, repeat
from models.state_space import StateSpace
from models.trunk_config import TrunkConfig


class Block(nn.Module):
  """Mixes x [B, T, S, D] along a "clip", the "space" of a step or the "time" of a place, then an MLP.

  Both are pre-normalised and residual. how: "attention" or "recurrence".
  """

  config: TrunkConfig
  along: str
  how: str

  @nn.compact
  def __call__(self, x_BxTxSxD, valid_BxTxS):
    c = self.config
    y = RMSNorm(name="mixing_norm")(x_BxTxSxD)
    if self.along == "time":  # places before steps, so that what is mixed is the last axis
      y = self._mix(y.swapaxes(1, 2), valid_BxTxS.swapaxes(1, 2)).swapaxes(1, 2)
    else:
      y = self._mix(y, valid_BxTxS)
    if c.adapter:
      y = Bottleneck(c.adapter, jnp.dtype(c.dtype), name="mixing_adapter")(y)
    x_BxTxSxD = _residual(x_BxTxSxD + y.astype(jnp.float32))
    y = MLP(4 * c.width, jnp.dtype(c.dtype), c.layers, name="mlp")(RMSNorm(name="mlp_norm")(x_BxTxSxD))
    if c.adapter:
      y = Bottleneck(c.adapter, jnp.dtype(c.dtype), name="mlp_adapter")(y)
    return _residual(x_BxTxSxD + y.astype(jnp.float32))

  def _mix(self, y, valid):
    """Mixing along the last axis of valid, or of the last two for a clip; each row of the others is alone."""
    c, dtype, space = self.config, jnp.dtype(self.config.dtype), y.shape[2]
    n = space * y.shape[1] if self.along == "clip" else space
    y_NxSxD, valid_NxS = y.reshape(-1, n, c.width), valid.reshape(-1, n)
    if self.how == "recurrence":
      mixed = StateSpace(c.heads, c.head_dim, c.state, c.chunk, dtype, c.width, name="state_space")(
        y_NxSxD, valid_NxS
      )
      return mixed.reshape(y.shape)
    time = None if self.along == "time" else jnp.arange(n) // space
    seen = valid_NxS[:, None, None, :]
    if c.causal and time is not None:
      seen &= (time[:, None] >= time[None, :])[None, None]
    seen |= jnp.eye(n, dtype=bool)[None, None]  # itself at least: a softmax over nobody would be NaN
    causal = c.causal and self.along == "time"
    attention = Attention(
      c.heads, c.head_dim, dtype, self.along != "space", causal, c.prefix, name="attention"
    )
    return attention(y_NxSxD, seen, time).reshape(y.shape)


class Unit(nn.Module):
  """One block of each kind that the mixing alternates between: what is scanned over depth."""

  config: TrunkConfig

  @nn.compact
  def __call__(self, x, valid):
    for along, how in self.config.unit:
      x = Block(self.config, along, how, name=along)(x, valid)
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
