"""A dataset and a model become the two sides of a probe: features of clips, and what they are asked for."""

from collections.abc import Callable, Mapping

import numpy as np

from data.clips import LIGHTS, RARE, WEATHERS
from data.datasets import Dataset
from data.errors import BadInput
from data.reader import RecordSource
from evaluation.probing.ladder import Side
from evaluation.probing.targets import clip_targets, code_targets, window_targets

Embed = Callable[[dict[str, np.ndarray]], np.ndarray]

_FIELDS = {
  "clips": (
    "boxes_TxKx7", "present_TxK", "cells_TxHxW", "ego_TxS", "future_TxFx2", "future_mask_TxF", "place_Tx3",
    "scene", "domain", "weather", "light", "rare",
  ),
  "windows": ("tokens_TxA", "mask_TxA", "valid_TxA", "scene", "domain"),
  "codes": ("scene", "domain"),
}  # fmt: skip
_OF_WINDOWS = {"windows": window_targets, "codes": code_targets}


def read_side(
  dataset: Dataset, split: str, limit: int, fields: tuple[str, ...], embeds: Mapping[str, Embed], chunk: int
) -> Side:
  """Up to `limit` records of a split (0: all), drawn from the whole of it.

  Args:
    fields: arrays the model reads. embeds: name to a function from stacked arrays [chunk, ...] to features [chunk, D].
    chunk: records embedded at once; the last chunk is filled up by its last record.
  """
  kind = dataset.config.kind
  if kind not in _FIELDS:
    raise BadInput(f"holds {kind}", dataset.path, f"probes read {' or '.join(_FIELDS)}")
  written = dataset.manifest["splits"].get(split, {}).get(kind, 0)
  wanted = tuple(dict.fromkeys((*fields, *_FIELDS[kind])))
  source = RecordSource(dataset, split, wanted, limit=min(limit, written))
  features: dict[str, list[np.ndarray]] = {name: [] for name in embeds}
  kept: dict[str, list[np.ndarray]] = {name: [] for name in _FIELDS[kind]}
  for start in range(0, len(source), chunk):
    rows = np.arange(start, start + chunk).clip(max=len(source) - 1)
    stacked, here = source.stacked(rows), min(chunk, len(source) - start)
    for name, embed in embeds.items():
      features[name].append(np.asarray(embed({field: stacked[field] for field in fields}))[:here])
    for name, values in kept.items():
      values.append(stacked[name][:here])
  arrays = {name: np.concatenate(values) for name, values in kept.items()}
  found = {name: np.concatenate(values).astype(np.float64) for name, values in features.items()}
  for name, value in found.items():
    if not np.isfinite(value).all():
      raise BadInput(
        f"features of {name} weights are not finite", f"{dataset.path} {split}", "check the weights"
      )
  domain, scene = arrays["domain"].astype(int), arrays["scene"].astype(int)
  if kind in _OF_WINDOWS:
    return Side(found, _OF_WINDOWS[kind](arrays, dataset.domains), scene, domain, None)
  names = {"domain": dataset.domains, "weather": WEATHERS, "light": LIGHTS, "rare": RARE}
  place = arrays["place_Tx3"][:, -1, :2].astype(np.float64)
  return Side(found, clip_targets(arrays, names), scene, domain, place)
