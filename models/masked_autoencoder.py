"""A masked autoencoder over a rig's sensors: the trunk sees the visible tokens, a shallow one tells the others.

K. He et al., "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377: hidden tokens do not pass the
encoder; one learned vector stands for each of them in the decoder, told apart by an embedding of its place.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from models.layers import weight
from models.masked_config import MaskedConfig
from models.perception import PerceptionModel
from models.trunk import Trunk


class MaskedAutoencoder(nn.Module):
  """apply({"params": p}, batch, hide) -> ({sensor: values_BxTxSxP}, {sensor: hidden_BxTxS}).

  batch: as of PerceptionModel, and "real_B" bool: a record that fills up the batch has no valid token.
  hide: valid_BxTxS -> bool [B, T, S], over all tokens in the order of the configuration's sensors; no more of a
  sensor's tokens may stay visible than `config.visible` counts.
  """

  config: MaskedConfig

  def setup(self):
    self.encoder = PerceptionModel(self.config.encoder)
    self.decoder = Trunk(self.config.decoder)

  @nn.compact
  def __call__(self, batch, hide: Callable):
    c, width = self.config, self.config.encoder.trunk.width
    x, valid = self.encoder.embed_tokens(batch)
    valid &= batch["real_B"][:, None, None]
    hidden = hide(valid)
    seen = valid & ~hidden
    y = self._encoded(x, seen)
    token = self.param("mask_token", _table(0.02, (None,)), (width,), jnp.float32)
    places = self.param("places_table", _table(0.1, (None, "table")), (x.shape[2], width), jnp.float32)
    y = jnp.where(seen[..., None], y, token[None, None, None]) + places[None, None]
    y = self.decoder(y, valid).astype(jnp.dtype(c.dtype))
    told, which = {}, {}
    for name, values in c.values.items():
      part = c.encoder.slices[name]
      kernel = weight(self, f"head_{name}", (width, values), ("embed", None), width).astype(y.dtype)
      bias = self.param(
        f"head_{name}_bias", nn.with_logical_partitioning(nn.initializers.zeros, (None,)), (values,)
      )
      told[name] = (y[:, :, part] @ kernel).astype(jnp.float32) + bias[None, None, None]
      which[name] = hidden[:, :, part]
    return told, which

  def _encoded(self, x, seen):
    """The trunk's output at the tokens that are seen; at the others it means nothing."""
    order = jnp.argsort(~seen, axis=-1, stable=True)
    slot = jnp.argsort(order, axis=-1, stable=True)
    order = order[..., : self.config.visible]
    taken = jnp.take_along_axis(x, order[..., None], axis=2)
    y = self.encoder.mix(taken, jnp.take_along_axis(seen, order, axis=2))
    return jnp.take_along_axis(y, jnp.minimum(slot, order.shape[-1] - 1)[..., None], axis=2)


def _table(scale: float, axes: tuple[str | None, ...]):
  return nn.with_logical_partitioning(nn.initializers.normal(scale), axes)
