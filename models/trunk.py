"""The trunk: mixes the tokens of a clip, S of them at each of T steps, by attention over both axes or in turn,
or by recurrences.

Rotary angles tell steps apart. Places within a step are told apart by what encoders add to their tokens, so that
the same weights serve any number of them. Invalid tokens are seen by nobody; what comes out at them means nothing.

Step by step: with a mutable collection "cache" a causal trunk reads some steps of a window, x [B, T', S, D] from step
`at` on, and keeps what later ones need: keys and values of the window's steps, the last state of a recurrence. It
begins without a cache at step 0; each step's outputs are those of the whole window, to rounding. Attention may read a
step again, a recurrence none.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.adapters import Bottleneck
from models.layers import MLP, Attention, RMSNorm, repeat
from models.state_space import StateSpace
from models.trunk_config import TrunkConfig


class Block(nn.Module):
  """Mixes x [B, T, S, D] along a "clip", the "space" of a step or the "time" of a place, then an MLP.

  Both are pre-normalised and residual. how: "attention" or "recurrence". valid is of the window, x its steps from `at`.
  """

  config: TrunkConfig
  along: str
  how: str

  @nn.compact
  def __call__(self, x_BxTxSxD, valid_BxTxS, at):
    c = self.config
    y = RMSNorm(name="mixing_norm")(x_BxTxSxD)
    if at is not None and (self.how == "recurrence" or self.along == "space"):  # no earlier step is looked at
      valid_BxTxS = jax.lax.dynamic_slice_in_dim(valid_BxTxS, at, y.shape[1], axis=1)
    if self.along == "time":  # places before steps, so that what is mixed is the last axis
      y = self._mix(y.swapaxes(1, 2), valid_BxTxS.swapaxes(1, 2), at).swapaxes(1, 2)
    else:
      y = self._mix(y, valid_BxTxS, at)
    if c.adapter:
      y = Bottleneck(c.adapter, jnp.dtype(c.dtype), name="mixing_adapter")(y)
    x_BxTxSxD = _residual(x_BxTxSxD + y.astype(jnp.float32))
    y = MLP(c.mlp_units, jnp.dtype(c.dtype), c.layers, name="mlp")(RMSNorm(name="mlp_norm")(x_BxTxSxD))
    if c.adapter:
      y = Bottleneck(c.adapter, jnp.dtype(c.dtype), name="mlp_adapter")(y)
    return _residual(x_BxTxSxD + y.astype(jnp.float32))

  def _mix(self, y, valid, at):
    """Mixing along the last axis of valid, or of the last two for a clip; each row of the others is alone."""
    c, dtype = self.config, jnp.dtype(self.config.dtype)
    mixed = 2 if self.along == "clip" else 1
    y_NxSxD = y.reshape(-1, math.prod(y.shape[3 - mixed : 3]), c.width)
    valid_NxP = valid.reshape(-1, math.prod(valid.shape[3 - mixed :]))
    if self.how == "recurrence":
      layer = StateSpace(c.head_count, c.head_dim, c.state, c.chunk, dtype, c.width, name="state_space")
      return layer(y_NxSxD, valid_NxP).reshape(y.shape)
    # Places of a step lie together in a clip; along time each step is one place.
    step = y.shape[2] if self.along == "clip" else 1
    first = 0 if at is None or self.along == "space" else at * step

    def seen(row_Q):
      row, place = row_Q[:, None], jnp.arange(valid_NxP.shape[1])[None]
      mask = valid_NxP[:, None, None]
      if c.causal and self.along != "space":
        mask = mask & (row // step >= place // step)[None, None]
      return mask | (row == place)[None, None]  # itself at least: a softmax over nobody would be NaN

    attention = Attention(
      c.head_count, c.head_dim, dtype, self.along != "space", c.prefix, c.block, name="attention"
    )
    time = (first + jnp.arange(y_NxSxD.shape[1])) // step
    return attention(y_NxSxD, seen, time, first).reshape(y.shape)


class Unit(nn.Module):
  """One block of each kind that the mixing alternates between: what is scanned over depth."""

  config: TrunkConfig

  @nn.compact
  def __call__(self, x, valid, at):
    for along, how in self.config.unit:
      x = Block(self.config, along, how, name=along)(x, valid, at)
    return x, None


class Trunk(nn.Module):
  """apply({"params": p}, x_BxTxSxD float, valid_BxTxS bool) -> x_BxTxSxD float32, normalised.

  With a cache x may be some steps only, from `at` on; valid is of the whole window.
  """

  config: TrunkConfig

  @nn.compact
  def __call__(self, x_BxTxSxD, valid_BxTxS, at=None):
    c = self.config
    x = _residual(x_BxTxSxD.astype(jnp.float32))
    x = repeat(Unit, (c,), "unit", c.layers // len(c.unit), c.scan, c.remat, x, valid_BxTxS, at)
    return RMSNorm(name="final_norm")(x)


def _residual(x):
  return nn.with_logical_constraint(x, ("batch", "time", "space", "act_embed"))
