"""The trunk of a configuration: the one place where `config.model` becomes a `TrunkConfig`."""

import dataclasses
from typing import Any

from experiments.adaptation import room
from experiments.config import Train
from models.trunk_config import TrunkConfig


def trunk_config(config: Train, steps: int, space: int, **own: Any) -> TrunkConfig:
  """A trunk over T = `steps` of S = `space` tokens, of the shape that the configuration gives.

  Args: own: fields of TrunkConfig that the family sets by itself, or whose name the configuration does not have.

  Raises ValueError when there is no such trunk.
  """
  named = {field.name for field in dataclasses.fields(TrunkConfig)}
  shape = {name: value for name, value in dataclasses.asdict(config.model).items() if name in named}
  rooms = {name: room(config.adaptation, name) for name in ("adapter", "prefix")}
  return TrunkConfig(**shape | rooms | dict(steps=steps, space=space) | own)
