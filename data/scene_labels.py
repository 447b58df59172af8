"""What training records say of themselves, and what their scenes' metadata adds: any axis that a fleet is dealt by.

Windows carry domain and scene, clips weather and light as well. Route, city (`geography`), rig, weather and the other
words of data.schema.Metadata are told by the stored scenes, which lie in the order of the records' scene numbers.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from data import reader
from data.datasets import Dataset
from data.errors import BadInput
from data.schema import Metadata
from data.slices import Names

WORDS = tuple(field.name for field in dataclasses.fields(Metadata) if field.type is str)


def of_records(dataset: Dataset, split: str, axes: Iterable[str]) -> tuple[dict[str, np.ndarray], Names]:
  """(axis -> whole numbers [N], axis -> what they stand for) of all records of a split: "scene", "domain" and `axes`.

  Raises BadInput for an axis that neither records nor scenes have, and where scenes cannot be told apart.
  """
  own = [name for name, (shape, _) in dataset.config.spec.items() if shape == ()]
  if "scene" not in own:
    raise BadInput("its records carry no scene", dataset.path, "choose a dataset of windows, clips or codes")
  labels = reader.labels(reader.RecordSource(dataset, split, own), own)
  names: dict[str, tuple[str, ...]] = {"domain": dataset.domains}
  beyond = [axis for axis in dict.fromkeys(axes) if axis not in own]
  if not beyond:
    return labels, names
  if unknown := [axis for axis in beyond if axis not in WORDS or not dataset.holds("scenes")]:
    known = (*own, *(WORDS if dataset.holds("scenes") else ()))
    what = f"neither records nor scenes carry {unknown[0]!r}"
    raise BadInput(what, dataset.path, f"choose of {', '.join(dict.fromkeys(known))}")
  numbers, of_record = np.unique(labels["scene"], return_inverse=True)
  told = [scene.metadata for scene in dataset.scenes(split)]
  if len(told) != len(numbers):
    what = (
      f"{len(told)} scenes of {split} are stored and {len(numbers)} have records: which is whose is unknown"
    )
    raise BadInput(what, dataset.path, "build it anew of scenes that are long enough")
  for axis in beyond:
    words = [getattr(one, axis) or "unknown" for one in told]
    names[axis] = tuple(sorted(set(words)))
    labels[axis] = np.searchsorted(names[axis], words)[of_record]
  return labels, names
