"""Held-out loss of a model over a whole split, exact on any mesh."""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from data import reader
from data.datasets import Dataset
from data.errors import BadInput
from experiments import mesh as meshes
from experiments import step as steps
from experiments.task import Task
from objectives import collapse, metrics

# Of a batch. Losses that compare records compare those of one: more would be harder (contrastive), or another balance.
_RECORDS = 64


def evaluate(task: Task, dataset: Dataset, mesh: Mesh, params, split: str) -> dict[str, Any]:
  """{"loss": mean, "by_slice": {each other metric, each domain, "<metric>/<domain>"}} over all records of `split`.

  "iou" and "<metric>_iou" are means over the classes that occur. A slice that counts nothing is left out. The last
  batch is filled up with records of zeros, which "real" tells apart (experiments/task.py) and which count nothing.
  Noise and masks are drawn by the place of a record in the split (objectives/draws.py): neither the mesh nor the
  filling changes them.
  Raises BadInput when the split is empty or the loss is not finite.
  """
  source = reader.RecordSource(dataset, split, task.fields)
  run = steps.make_eval(lambda *args: collapse.read(task.held_out(*args)), mesh)
  rows = mesh.shape["data"] * mesh.shape["fsdp"]
  size = math.ceil(min(_RECORDS, len(source)) / rows) * rows
  part, parts = meshes.batch_share(mesh)
  sums, key = [], meshes.make_key(0, mesh)
  for start in range(0, len(source), size):
    mine = np.arange(start + part, min(start + size, len(source)), parts)
    stacked = source.stacked(mine) | {"real": np.ones(len(mine), bool), "position": mine.astype(np.int32)}
    full = {name: _filled(value, size // parts) for name, value in stacked.items()}
    batch = meshes.put_batch(task.to_batch(full), mesh)
    sums.append(jax.tree.map(np.asarray, run(params, batch, key)))
  with np.errstate(invalid="ignore"):  # an empty slice is NaN, and left out below
    means = metrics.reduce(sums)
  if not np.isfinite(means["loss"]):
    raise BadInput(
      f"the loss is {float(means['loss'])}", f"{dataset.path} {split}", "check the split and the weights"
    )
  named = sorted(means.items(), key=lambda item: np.ndim(item[1]))  # scalars first
  slices: dict[str, float] = {}
  for name, value in named:
    if name.endswith("by_domain"):
      metric = name.removesuffix("by_domain").removesuffix("_")
      prefix = f"{metric}/" if metric else ""
      slices |= {prefix + domain: float(v) for domain, v in zip(dataset.domains, value, strict=True)}
    elif name.endswith("iou"):
      occurring = value[np.isfinite(value)]
      slices[name] = float(occurring.mean()) if len(occurring) else math.nan
    elif np.ndim(value) == 0 and name not in ("objective", "loss"):
      slices[name] = float(value)
  by_slice = {name: value for name, value in slices.items() if math.isfinite(value)}
  return {"loss": float(means["loss"]), "by_slice": by_slice}


def _filled(value_Bx: np.ndarray, size: int) -> np.ndarray:
  """`value_Bx` with zeros after its rows, `size` rows in all."""
  missing = np.zeros((size - len(value_Bx), *value_Bx.shape[1:]), value_Bx.dtype)
  return np.concatenate([value_Bx, missing])
