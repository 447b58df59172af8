"""A learned tokeniser of bird's-eye views: frames of cell classes to a few codes each, and back.

Patches of cells pass a linear map, a trunk over the frame, and a quantiser (models/vq.py or models/fsq.py); a second
trunk and a linear map make class scores of every cell out of the codes. Frames are encoded one by one: what happens
in time is for the model of the codes (models/codes.py). A. van den Oord et al., arXiv:1711.00937.

B clips, T frames, H x W cells, S codes of a frame in raster order, E channels of a code, V classes of a cell.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.bev_tokeniser_config import BevTokeniserConfig
from models.fsq import FSQ
from models.layers import weight
from models.sensors import patches, unpatch
from models.trunk import Trunk
from models.vq import VQ


def halves(model: "BevTokeniser", params) -> tuple[Callable, Callable]:
  """(cells int [B, T, H, W] -> codes int32 [B, T, S], codes -> the likeliest class of each cell), both compiled."""

  @jax.jit
  def to_codes(cells_BxTxHxW):
    return model.apply({"params": params}, cells_BxTxHxW, method="encode")[0]

  @jax.jit
  def to_cells(index_BxTxS):
    return model.apply({"params": params}, index_BxTxS, method="decode").argmax(-1)

  return to_codes, to_cells


class BevTokeniser(nn.Module):
  """apply({"params": p}, batch) -> {"logits_BxTxHxWxV", "encoded_BxTxSxE", "quantised_BxTxSxE", "index_BxTxS"}.

  batch: "cells_BxTxHxW" int. `encode` and `decode` are the tokeniser's two halves.
  """

  config: BevTokeniserConfig

  def setup(self):
    c, d = self.config, self.config.width
    self.quantiser = FSQ(c.levels) if c.levels else VQ(c.codes, c.code_dim)
    pixels, side = c.patch**2, (c.patch**2, c.classes)
    self.patch_in = weight(self, "patch_stem", (*side, d), (None, "features", "embed"), pixels)
    self.place_in = weight(self, "read_table", (c.places, d), (None, "table"), 1)
    self.encoder = Trunk(c.trunk)
    self.code_in = weight(self, "code_in", (d, c.channels), ("embed", "features"), d)
    self.code_out = weight(self, "code_stem", (c.channels, d), ("features", "embed"), c.channels)
    self.place_out = weight(self, "write_table", (c.places, d), (None, "table"), 1)
    self.decoder = Trunk(c.trunk)
    self.patch_out = weight(self, "patch_out", (d, *side), ("embed", None, "features"), d)

  def __call__(self, batch):
    encoded = self.embed(batch["cells_BxTxHxW"])
    index, quantised = self.quantiser.encode(encoded)
    return {
      "logits_BxTxHxWxV": self.scores(quantised),
      "encoded_BxTxSxE": encoded,
      "quantised_BxTxSxE": quantised,
      "index_BxTxS": index,
    }

  def encode(self, cells_BxTxHxW):
    """(indices int32 [B, T, S], codes [B, T, S, E])."""
    return self.quantiser.encode(self.embed(cells_BxTxHxW))

  def decode(self, index_BxTxS):
    """Class scores [B, T, H, W, V]; their argmax is the decoded view."""
    return self.scores(self.quantiser.decode(index_BxTxS))

  def embed(self, cells_BxTxHxW):
    """Vectors [B, T, S, E] before they are quantised."""
    c = self.config
    cells = patches(cells_BxTxHxW[..., None], c.patch, 1)
    cells = jax.nn.one_hot(cells, c.classes, dtype=jnp.dtype(c.dtype))
    x = jnp.einsum("btspv,pvd->btsd", cells, self.patch_in.astype(cells.dtype)).astype(jnp.float32)
    x = self._each(self.encoder, x + self.place_in[None, None])
    return jnp.einsum("btsd,de->btse", x, self.code_in)

  def scores(self, quantised_BxTxSxE):
    c = self.config
    x = jnp.einsum("btse,ed->btsd", quantised_BxTxSxE, self.code_out)
    x = self._each(self.decoder, x + self.place_out[None, None]).astype(jnp.dtype(c.dtype))
    logits = jnp.einsum("btsd,dpv->btspv", x, self.patch_out.astype(x.dtype)).astype(jnp.float32)
    return unpatch(logits.reshape(*logits.shape[:3], -1), (c.grid, c.grid), c.patch, 1)

  def _each(self, trunk, x_BxTxSxD):
    """The trunk over every frame by itself."""
    b, t, s, d = x_BxTxSxD.shape
    return trunk(x_BxTxSxD.reshape(b * t, 1, s, d), jnp.ones((b * t, 1, s), bool)).reshape(b, t, s, d)
