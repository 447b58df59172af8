"""Vehicles made of a dataset: who holds what, by what records and their scenes say of themselves."""

import numpy as np

from data import scene_labels, slices
from data.datasets import Dataset
from data.errors import BadInput
from experiments.federation_config import Federation
from federated import fleet


def make_fleet(config: Federation, dataset: Dataset, split: str) -> fleet.Fleet:
  """The vehicles and what they hold: axes of the records, or of their scenes' metadata, say how vehicles differ."""
  axes = [name for name in config.fleet.axes.split(",") if name]
  labels, names = scene_labels.of_records(dataset, split, [*axes, *slices.axes(config.fleet.without)])
  there = np.ones(len(labels["scene"]), bool)
  for one in filter(None, config.fleet.without.split(";")):
    there &= ~slices.members(one, labels, names)
  held = np.flatnonzero(there)
  here = {name: values[held] for name, values in labels.items()}
  if axes:
    made = fleet.by_metadata(here, axes, config.fleet.vehicles, config.seed)
  elif config.fleet.alpha > 0:
    made = fleet.dirichlet(here, "domain", config.fleet.alpha, config.fleet.vehicles, config.seed)
  else:
    raise BadInput("neither axes nor alpha is given", "config.fleet", "say how vehicles differ")
  made = [(cell, held[own]) for cell, own in made]
  hardware = fleet.Hardware(
    config.fleet.steps_per_second,
    config.fleet.up,
    config.fleet.down,
    config.fleet.spread,
    config.fleet.reached,
  )
  return fleet.assemble(made, labels, hardware, config.seed)
