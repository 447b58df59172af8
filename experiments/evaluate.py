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
from experiments.task import FIELDS, Task
from objectives import metrics

_WINDOWS = 64


def evaluate(task: Task, dataset: Dataset, mesh: Mesh, params, split: str) -> dict[str, Any]:
  """{"loss": nats per move, "by_slice": {"moving", each domain, "moving/<domain>"}} of all windows of `split`.

  A slice without moves is left out. The last batch is filled up with empty windows, which count nothing.
  Raises BadInput when the split is empty or the loss is not finite.
  """
  source = reader.RecordSource(dataset, split, FIELDS)
  run = steps.make_eval(task.loss_fn, mesh)
  key = meshes.make_key(0, mesh)
  rows = mesh.shape["data"] * mesh.shape["fsdp"]
  size = math.ceil(min(_WINDOWS, len(source)) / rows) * rows
  part, parts = meshes.batch_share(mesh)
  sums = []
  for start in range(0, len(source), size):
    mine = np.arange(start + part, min(start + size, len(source)), parts)
    full = {name: _filled(value, size // parts) for name, value in source.stacked(mine).items()}
    sums.append(jax.tree.map(np.asarray, run(params, meshes.put_batch(task.to_batch(full), mesh), key)))
  with np.errstate(invalid="ignore"):  # an empty slice is NaN, and left out below
    means = metrics.reduce(sums)
  if not np.isfinite(means["loss"]):
    raise BadInput(
      f"the loss is {float(means['loss'])}", f"{dataset.path} {split}", "check the split and the weights"
    )
  slices = {"moving": float(means["moving"])} if np.isfinite(means["moving"]) else {}
  for prefix, name in (("", "by_domain"), ("moving/", "moving_by_domain")):
    for domain, value in zip(dataset.domains, means[name], strict=True):
      if np.isfinite(value):
        slices[prefix + domain] = float(value)
  return {"loss": float(means["loss"]), "by_slice": slices}


def _filled(value_Bx: np.ndarray, size: int) -> np.ndarray:
  """`value_Bx` with zeros after its rows, `size` rows in all."""
  missing = np.zeros((size - len(value_Bx), *value_Bx.shape[1:]), value_Bx.dtype)
  return np.concatenate([value_Bx, missing])
