"""Models that compare summaries: a perception model with projections, which are thrown away after.

`Contrastive` gives each view a projection of its own and learns the temperature (A. Radford et al., CLIP,
arXiv:2103.00020). `Prototypes` scores a summary against learned directions (M. Caron et al., DINO,
arXiv:2104.14294): all on the unit sphere, so that no prototype wins by its length.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers import gelu, weight
from models.perception import PerceptionModel, summary
from models.projection_config import ContrastiveConfig, PrototypeConfig
from models.visible import encode_visible

LEAST_SQUARE = 1e-12  # of a length that is divided by
FIRST_SCALE = 1 / 0.07  # inverse temperature at the start, of CLIP


class Projection(nn.Module):
  """W2 gelu(W1 x), in float32."""

  hidden: int
  outputs: int

  @nn.compact
  def __call__(self, x_BxD):
    up = weight(self, "up", (x_BxD.shape[-1], self.hidden), ("embed", "mlp"), x_BxD.shape[-1])
    down = weight(self, "down", (self.hidden, self.outputs), ("mlp", "act_embed"), self.hidden)
    return gelu(x_BxD.astype(jnp.float32) @ up) @ down


class Contrastive(nn.Module):
  """apply({"params": p}, batch) -> (views {sensor: z_BxE}, present {sensor: bool [B]}, log_scale []).

  batch: as PerceptionModel. The trunk sees each view's tokens alone: what is compared are sensors, not copies.
  """

  config: ContrastiveConfig

  def setup(self):
    c = self.config
    self.encoder = PerceptionModel(c.perception)
    self.projections = {name: Projection(c.hidden, c.outputs, name=f"projection_{name}") for name in c.views}
    constant = nn.with_logical_partitioning(nn.initializers.constant(math.log(FIRST_SCALE)), ())
    self.log_scale = self.param("log_scale", constant, (), jnp.float32)

  def __call__(self, batch):
    x, valid = self.encoder.embed_tokens(batch)
    views, present = {}, {}
    for name in self.config.views:
      part = self.config.perception.slices[name]
      own, there = x[:, :, part], valid[:, :, part]
      views[name] = self.projections[name](summary(self.encoder.mix(own, there), there))
      present[name] = there.any((1, 2))
    return views, present, self.log_scale

  def embed(self, batch):
    """[B, D] of all tokens."""
    return summary(*self.encoder(batch))


class Prototypes(nn.Module):
  """apply({"params": p}, batch, hide, slots) -> (scores_BxK, features_BxD): cosines to K prototypes; the summary.

  batch: as PerceptionModel. hide(valid_BxTxS) -> bool [B, T, S]: what the view lacks. slots: the most tokens of a
  step that it shows.
  """

  config: PrototypeConfig

  def setup(self):
    c = self.config
    self.encoder = PerceptionModel(c.perception)
    self.projection = Projection(c.hidden, c.outputs)
    axes = ("act_embed", "vocab")
    self.prototypes = weight(self, "prototypes", (c.outputs, c.prototypes), axes, c.outputs)

  def __call__(self, batch, hide, slots: int):
    seen = encode_visible(self.encoder, batch, hide, slots)
    features = summary(seen.z_BxTxKxD, seen.kept_BxTxK)
    return _unit(self.projection(features), -1) @ _unit(self.prototypes, 0), features

  def embed(self, batch):
    """[B, D] of all tokens."""
    return summary(*self.encoder(batch))


def _unit(x, axis: int):
  return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(axis, keepdims=True), LEAST_SQUARE))
