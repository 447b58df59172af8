"""Probes while a run trains, on its own mesh: what its features hold at random initialisation, on the way, at the end.

Every `probe.every_steps` steps the linear scores (evaluation/probing/ladder.py) go to metrics.jsonl; step 0 is the
level of random initialisation that the later ones are to be compared with. The last ones are in the run's row. They
are of the whole split, one number a target; every other metric of evaluation/ is a program over a finished run.
"""

import math

import numpy as np

from data.errors import BadInput
from evaluation.probing.ladder import linear_scores
from evaluation.probing.sides import read_side
from experiments import mesh as meshes
from experiments import step as steps
from experiments.setup import Setup

_CHUNK = 16


class Probes:
  """Raises BadInput when probes are asked of a task without features."""

  def __init__(self, setup: Setup):
    self._setup, self._every = setup, setup.config.probe.every_steps
    self._embed = setup.task.embed and steps.make_eval(setup.task.embed, setup.mesh)
    if self._every and self._embed is None:
      what = f"{setup.config.objective} has no features to read"
      raise BadInput(what, "config.probe.every_steps", "set it to 0")

  def due(self, step: int) -> bool:
    """Whether the journal wants them after `step` steps; the last step's go to the row."""
    return bool(self._every) and step % self._every == 0 and step < self._setup.total

  def scores(self, params) -> dict[str, float]:
    """Score by target, of probes fitted on the training split and scored on the evaluation split; {} when off.

    All processes call it together, and all get the same.
    """
    setup, run = self._setup, self._embed
    if not self._every or run is None:
      return {}
    rows = setup.mesh.shape["data"] * setup.mesh.shape["fsdp"]
    chunk = math.ceil(_CHUNK / rows) * rows
    part, parts = meshes.batch_share(setup.mesh)

    def embed(stacked: dict[str, np.ndarray]) -> np.ndarray:
      share = chunk // parts
      mine = {name: value[part * share : (part + 1) * share] for name, value in stacked.items()}
      return np.asarray(run(params, meshes.put_batch(setup.task.to_batch(mine), setup.mesh)))

    data, most = setup.config.data, setup.config.probe.records
    train, test = (
      read_side(setup.dataset, split, most, setup.task.fields, {"trained": embed}, chunk)
      for split in (data.train_split, data.eval_split)
    )
    return linear_scores(train, test)
