"""The data a config names: how many tokens it holds, and what repeating them would cost."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from data.errors import BadInput
from data.files import read_json


@dataclasses.dataclass(frozen=True)
class Data:
  """Attributes: supervised tokens that training may read, `unique`, and those of a window; None when unknown.
  `repetition`: R_D*, R_N* of Muennighoff et al. (arXiv:2305.16264), or None."""

  unique: float | None
  tokens_per_window: float | None
  repetition: tuple[float, float] | None = None


def read(
  section: Mapping[str, Any], unique: float | None, repetition: tuple[float, float] | None = None
) -> Data:
  """Data of a config's `data` section.

  Args:
    section: its keys dataset, train_split and unique_windows count here.
    unique: tokens, when the dataset is not here or its own count is not wanted.

  Raises BadInput when the dataset is here and has no such split.
  """
  manifest = pathlib.Path(section["dataset"]) / "dataset.json"
  if not manifest.exists():
    return Data(unique, None, repetition)
  splits = read_json(manifest, "build the dataset again").get("splits", {})
  if not splits.get(section["train_split"], {}).get("windows"):
    what = f"has no windows to train on in split {section['train_split']!r}"
    raise BadInput(what, manifest, f"choose one of {', '.join(splits)}")
  counts = splits[section["train_split"]]
  per_window = counts["tokens"] / counts["windows"]
  windows = section["unique_windows"] or counts["windows"]
  return Data(unique or windows * per_window, per_window, repetition)
