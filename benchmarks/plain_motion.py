"""The motion model as one would first write it: Flax's own layers, no mesh, no logical axes. A peer to time."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.motion_config import AGENT_TYPES, MotionConfig


class PlainMotion(nn.Module):
  """The architecture of models.motion.MotionModel up to initialisation and rotary time."""

  config: MotionConfig

  @nn.compact
  def __call__(self, batch):
    c = self.config
    tokens, known = batch["tokens_BxTxA"].astype(jnp.int32), batch["mask_BxTxA"]
    valid = batch["valid_BxTxA"]
    group = batch["group_BxA"].astype(jnp.int32)
    moves = jnp.where(known, tokens, c.vocabulary)
    last_slot = jax.lax.cummax(jnp.where(known, jnp.arange(c.agents), -1), axis=2)
    place = jnp.pad(last_slot, ((0, 0), (0, 0), (1, 0)), constant_values=-1)[..., :-1]
    same = jnp.take_along_axis(group[:, None], jnp.maximum(place, 0), axis=2) == group[:, None]
    before = jnp.take_along_axis(moves, jnp.maximum(place, 0), axis=2)
    before = jnp.where((place >= 0) & same, before, c.vocabulary)
    last = jnp.pad(moves, ((0, 0), (1, 0), (0, 0)), constant_values=c.vocabulary)[:, :-1]
    x = nn.gelu(nn.Dense(4 * c.width)(batch["features_BxTxAxF"].astype(jnp.float32)))
    x = nn.Dense(c.width, use_bias=False)(x)
    x = x + nn.Embed(c.rows, c.width)(before) + nn.Embed(c.rows, c.width)(last)
    x = x + nn.Embed(AGENT_TYPES, c.width)(batch["type_BxA"].astype(jnp.int32))[:, None]
    for layer in range(c.layers):
      over_time = layer % 2 == 0
      y = nn.RMSNorm()(x)
      if over_time:  # attention runs over the last axis but one
        y = y.swapaxes(1, 2)
        mask = valid.swapaxes(1, 2)[:, :, None, None, :] & jnp.tril(jnp.ones((c.steps, c.steps), bool))
      else:
        same = (group[:, :, None] == group[:, None, :])[:, None, None] & valid[:, :, None, None, :]
        mask = same & jnp.tril(jnp.ones((c.agents, c.agents), bool))
      y = nn.MultiHeadDotProductAttention(c.heads, use_bias=False, qkv_features=c.width)(y, mask=mask)
      x = x + (y.swapaxes(1, 2) if over_time else y)
      y = nn.Dense(4 * c.width, use_bias=False)(nn.RMSNorm()(x))
      x = x + nn.Dense(c.width, use_bias=False)(nn.gelu(y))
    logits = nn.Dense(c.rows)(nn.RMSNorm()(x))
    return jnp.where(jnp.arange(c.rows) < c.vocabulary, logits, -1e9)
