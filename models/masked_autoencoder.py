"""Models that fill in what is hidden: an encoder of visible tokens, a predictor of all places, and heads.

`MaskedAutoencoder` shows the sensors (K. He et al., arXiv:2111.06377), `JointEmbedding` the teacher's embeddings
(M. Assran et al., I-JEPA, arXiv:2301.08243). Of both only the encoder is kept.
"""

import flax.linen as nn
import jax.numpy as jnp

from models.layers import weight
from models.perception import PerceptionModel, summary
from models.predictor import Predictor
from models.predictor_config import JointEmbeddingConfig, MaskedAutoencoderConfig
from models.visible import encode_visible


class MaskedAutoencoder(nn.Module):
  """apply({"params": p}, batch, hide) -> (predictions, hidden), both {sensor: ...}: [B, T, S, P], bool [B, T, S].

  batch: as PerceptionModel. hide(valid_BxTxS) -> bool [B, T, S]: the tokens to hide.
  """

  config: MaskedAutoencoderConfig

  def setup(self):
    self.encoder = PerceptionModel(self.config.perception)
    self.predictor = Predictor(self.config.predictor)
    self.heads = {name: Head(n, name=f"head_{name}") for name, (_, n) in self.config.heads.items()}

  def __call__(self, batch, hide):
    y, seen = _fill(self, batch, hide)
    parts = {name: self.config.perception.slices[name] for name in self.heads}
    predictions = {name: self.heads[name](y[:, :, part]) for name, part in parts.items()}
    return predictions, {name: seen.hidden_BxTxS[:, :, part] for name, part in parts.items()}

  def embed(self, batch):
    """[B, D] of all tokens."""
    return summary(*self.encoder(batch))


class JointEmbedding(nn.Module):
  """apply({"params": p}, batch, hide) -> (z_BxTxSxD, hidden_BxTxS): what the teacher will say of every place."""

  config: JointEmbeddingConfig

  def setup(self):
    self.encoder = PerceptionModel(self.config.perception)
    self.predictor = Predictor(self.config.predictor)
    self.head = Head(self.config.perception.trunk.width)

  def __call__(self, batch, hide):
    y, seen = _fill(self, batch, hide)
    return self.head(y), seen.hidden_BxTxS


class Head(nn.Module):
  """W x + b, in float32."""

  values: int

  @nn.compact
  def __call__(self, x):
    kernel = weight(self, "kernel", (x.shape[-1], self.values), ("embed", None), x.shape[-1])
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, (None,))
    bias = self.param("bias", zeros, (self.values,), jnp.float32)
    return x.astype(jnp.float32) @ kernel + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def _fill(module, batch, hide):
  seen = encode_visible(module.encoder, batch, hide, module.config.visible)
  visible = seen.valid_BxTxS & ~seen.hidden_BxTxS
  return module.predictor(seen.z_BxTxKxD, seen.slot_BxTxS, visible, seen.valid_BxTxS), seen
