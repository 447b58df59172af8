"""The perception model: whatever sensors a rig has, encoded and mixed by one trunk."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.perception_config import PerceptionConfig
from models.sensors import Camera, Ego, Lidar, Raster
from models.trunk import Trunk

# Batch arrays that each encoder reads, in the order of its arguments.
ARRAYS = {
  "ego": ("ego_BxTxS",),
  "raster": ("raster_BxTxHxWxC",),
  "lidar": ("points_BxTxPx4", "echo_BxTxP"),
  "camera": ("images_BxTxCxHxWx3", "rays_BxCxSx6"),
}
_ENCODERS: dict[str, type[nn.Module]] = {"ego": Ego, "raster": Raster, "lidar": Lidar, "camera": Camera}


class PerceptionModel(nn.Module):
  """apply({"params": p}, batch) -> (x_BxTxSxD float32, valid_BxTxS).

  batch: the ARRAYS of each sensor, with all of the configuration's when parameters are made, and any of them later:
  a sensor whose arrays are absent gives tokens that are not valid. "sensed_BxM" bool, if there, says which sensors
  a clip has (M in the order of config.sensors). A sweep without echoes is not valid.
  """

  config: PerceptionConfig

  def setup(self):
    c = self.config
    self.encoders = {
      name: _ENCODERS[name](sensor, c.trunk.width, c.tube, jnp.dtype(c.trunk.dtype), name=name)
      for name, sensor in c.sensors.items()
    }
    self.trunk = Trunk(c.trunk)

  def __call__(self, batch, keep_BxTxK=None):
    """keep_BxTxK: places to encode, as of a masked autoencoder; None: all. Then S is K, in the order of keep.

    Factorised and recurrent mixing follow a place through time: keep the same places at every step for them.
    """
    x, valid = self.embed_tokens(batch)
    if keep_BxTxK is not None:
      x = jnp.take_along_axis(x, keep_BxTxK[..., None], axis=2)
      valid = jnp.take_along_axis(valid, keep_BxTxK, axis=2)
    return self.mix(x, valid), valid

  def embed_tokens(self, batch):
    """(x_BxTxSxD, valid_BxTxS) before the trunk."""
    c, tokens, valid = self.config, [], []
    here = [name for name in c.sensors if all(array in batch for array in ARRAYS[name])]
    b = batch[ARRAYS[here[0]][0]].shape[0]
    for index, name in enumerate(c.sensors):
      if name in here:
        x = self.encoders[name](*(batch[array] for array in ARRAYS[name]))
        seen = jnp.ones(x.shape[:3], bool)
        if name == "lidar":
          seen &= batch["echo_BxTxP"][:, c.tube - 1 :: c.tube].any(-1)[..., None]
        if "sensed_BxM" in batch:
          seen &= batch["sensed_BxM"][:, index, None, None]
      else:
        shape = (b, c.trunk.steps, c.sensors[name].places)
        x, seen = jnp.zeros((*shape, c.trunk.width), jnp.float32), jnp.zeros(shape, bool)
      tokens.append(x)
      valid.append(seen)
    return jnp.concatenate(tokens, 2), jnp.concatenate(valid, 2)

  def mix(self, x_BxTxSxD, valid_BxTxS):
    """The trunk over any tokens of its width."""
    return self.trunk(x_BxTxSxD, valid_BxTxS)


def summary(x_BxTxSxD: jax.Array, valid_BxTxS: jax.Array) -> jax.Array:
  """[B, D]: the mean of the valid tokens of each clip; zeros where there is none."""
  weight = valid_BxTxS[..., None].astype(x_BxTxSxD.dtype)
  return (x_BxTxSxD * weight).sum((1, 2)) / jnp.maximum(weight.sum((1, 2)), 1)
