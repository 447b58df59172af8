"""An encoder that sees the visible tokens only: they are gathered, so that its compute falls with their number.

K. He et al., MAE, arXiv:2111.06377. The gather has a fixed number K of slots a step; those that visible tokens do
not fill are not valid, and nothing of a hidden token enters.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from models.perception import PerceptionModel


class Visible(NamedTuple):
  """Attributes:
  z_BxTxKxD: what the trunk made of the gathered tokens. kept_BxTxK: slots that hold one.
  slot_BxTxS: the slot of each place, less than K where it is visible.
  hidden_BxTxS, valid_BxTxS: places that were hidden; places that have a token, hidden or not.
  """

  z_BxTxKxD: jax.Array
  kept_BxTxK: jax.Array
  slot_BxTxS: jax.Array
  hidden_BxTxS: jax.Array
  valid_BxTxS: jax.Array


def encode_visible(encoder: PerceptionModel, batch: dict, hide: Callable, slots: int) -> Visible:
  """Encodes what hide(valid_BxTxS) -> bool [B, T, S] leaves visible.

  A trunk that follows places through time gets the same places at every step: hide the same for it (tubes).
  Visible tokens beyond `slots` are not seen.
  """
  x, valid = encoder.embed_tokens(batch)
  hidden = hide(valid) & valid
  visible = valid & ~hidden
  follows = any(along == "time" for along, _ in encoder.config.trunk.unit)
  wanted = visible.any(1, keepdims=True) if follows else visible
  order = jnp.argsort(~wanted, axis=-1, stable=True)
  slot = jnp.broadcast_to(jnp.argsort(order, axis=-1), valid.shape)
  keep = jnp.broadcast_to(order[..., :slots], (*valid.shape[:2], slots))
  kept = jnp.take_along_axis(visible, keep, axis=2)
  z = encoder.mix(jnp.take_along_axis(x, keep[..., None], axis=2), kept)
  return Visible(z, kept, slot, hidden, valid)
