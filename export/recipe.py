"""Which products are quantised, and how: what a calibration finds, an artifact is written by and its twin obeys."""

import dataclasses
from typing import Any

from export.quantisers import WEIGHTS, Affine, Grid

ACTIVATIONS = ("static", "dynamic", "rows", "float")


@dataclasses.dataclass(frozen=True)
class Site:
  """How one product of an activation and a weight is made.

  bits: of the weight: of quantisers.WEIGHTS, or 32 where it stays float32.
  activation: "static" by `at`, "dynamic" by its own range on the unsigned grid, "rows" by the range of each of its
    rows, or "float".
  """

  bits: int
  activation: str
  at: Affine | None = None

  def __post_init__(self):
    if (self.at is not None) != (self.activation == "static"):
      raise ValueError("a static activation, and no other, has a grid")
    if self.activation not in ACTIVATIONS or self.bits not in (*WEIGHTS, 32):
      raise ValueError(f"no product has weights of {self.bits} bits and {self.activation} activations")


FLOAT = Site(32, "float")


@dataclasses.dataclass(frozen=True)
class Recipe:
  """sites: by name; those that are not named stay float. calibration: how ranges were chosen, and from what."""

  sites: dict[str, Site]
  calibration: dict[str, Any]

  def of(self, name: str) -> Site:
    return self.sites.get(name, FLOAT)

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)

  @staticmethod
  def from_json(value: dict[str, Any]) -> "Recipe":
    def site(own: dict[str, Any]) -> Site:
      at = own["at"]
      grid = at and Affine(at["scale"], at["zero"], Grid(**at["grid"]))
      return Site(own["bits"], own["activation"], grid)

    return Recipe({name: site(own) for name, own in value["sites"].items()}, value["calibration"])
