"""The light decoder of masked learning: from what the visible tokens became to something at every place.

Hidden places start from one learned token, all places from an embedding of their own; a narrow trunk mixes them.
With heads that show the sensors it is the decoder of a masked autoencoder (K. He et al., MAE, arXiv:2111.06377),
with one head of the encoder's width the predictor of joint-embedding prediction (M. Assran et al., I-JEPA,
arXiv:2301.08243).
"""

import flax.linen as nn
import jax.numpy as jnp

from models.layers import weight
from models.trunk import Trunk
from models.trunk_config import TrunkConfig


class Predictor(nn.Module):
  """apply({"params": p}, z_BxTxKxD, slot_BxTxS, visible_BxTxS, valid_BxTxS) -> y_BxTxSxE float32.

  slot_BxTxS: where along K the token of each place is, read where it is visible. valid: places that exist.
  """

  config: TrunkConfig

  @nn.compact
  def __call__(self, z_BxTxKxD, slot_BxTxS, visible_BxTxS, valid_BxTxS):
    c, d = self.config, z_BxTxKxD.shape[-1]
    down = weight(self, "down", (d, c.width), ("embed", "act_embed"), d)
    z = jnp.einsum("btkd,de->btke", z_BxTxKxD, down)
    blank = weight(self, "blank_token", (c.width,), ("norm",), c.width)
    slot_BxTxS = jnp.minimum(slot_BxTxS, z.shape[2] - 1)
    x = jnp.take_along_axis(z, slot_BxTxS[..., None], axis=2)
    x = jnp.where(visible_BxTxS[..., None], x, blank[None, None, None])
    place = weight(self, "place", (c.space, c.width), (None, "table"), 1)
    return Trunk(c, name="trunk")(x + place[None, None], valid_BxTxS)
