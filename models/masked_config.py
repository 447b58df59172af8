"""The configuration of a masked autoencoder: a perception model and what reconstructs, counted without JAX."""

import dataclasses

from models.perception_config import PerceptionConfig
from models.trunk_config import TrunkConfig

PILLAR_VALUES = 6  # of a reconstructed patch of pillars, as objectives.masked describes them


@dataclasses.dataclass(frozen=True)
class MaskedConfig:
  """encoder: sees the visible tokens alone. decoder_layers: of a trunk of the same width over all places.

  ratio: share of the tokens of each sensor that is hidden, 0 to 1; the ego's state is never hidden.
  """

  encoder: PerceptionConfig
  decoder_layers: int
  ratio: float

  @property
  def dtype(self) -> str:
    return self.encoder.trunk.dtype

  @property
  def decoder(self) -> TrunkConfig:
    return dataclasses.replace(self.encoder.trunk, layers=self.decoder_layers)

  @property
  def values(self) -> dict[str, int]:
    """P by sensor: values that a hidden token is told by."""
    e, values = self.encoder, {}
    if e.raster:
      values["raster"] = e.tube * e.raster.grid.patch**2 * len(e.raster.zeros)
    if e.lidar:
      values["lidar"] = PILLAR_VALUES
    if e.camera:
      values["camera"] = e.tube * e.camera.patch**2 * 3
    return values

  @property
  def visible(self) -> int:
    """The most tokens of a step that stay visible."""
    places = {name: sensor.places for name, sensor in self.encoder.sensors.items()}
    return sum(n - (round(self.ratio * n) if name in self.values else 0) for name, n in places.items())

  @property
  def tokens(self) -> int:
    """Of a clip, visible or hidden."""
    return self.encoder.trunk.steps * self.encoder.trunk.space

  def param_count(self) -> int:
    d, space = self.encoder.trunk.width, self.encoder.trunk.space
    heads = sum((d + 1) * p for p in self.values.values())
    return self.encoder.param_count() + self.decoder.param_count() + heads + d * (space + 1)

  def non_embedding_params(self) -> int:
    """N: without the embeddings of places and the heads."""
    return self.encoder.non_embedding_params() + self.decoder.param_count() + self.encoder.trunk.width

  def flops_per_token(self) -> int:
    """Training FLOPs per token of the clip: the trunk's for the visible share, all else for every token."""
    trunk, sensors = self.encoder.trunk, self.encoder.sensors
    seen = dataclasses.replace(trunk, space=self.visible)
    heads = sum(6 * trunk.width * p * sensors[name].places for name, p in self.values.items())
    encoders = self.encoder.flops_per_token() - trunk.flops_per_token()
    share = self.visible * seen.flops_per_token() + heads
    return share // trunk.space + encoders + self.decoder.flops_per_token()
