"""What a run loses on every record by itself, or what a probe of its features does: what gates compare.

Slices are cut from these records.
"""

import jax
import jax.numpy as jnp
import numpy as np

from data import reader
from data.datasets import Dataset
from data.errors import BadInput
from data.slices import Labels
from evaluation.gates import Losses
from evaluation.probing.ladder import errors
from evaluation.probing.sides import read_side
from experiments.run import Run

_TOGETHER = 32  # records
_DRAWS = 4  # of noise and masks, over which a record's loss is averaged
_FITTED = 2000  # records at most that a probe is fitted on


def losses(run: Run, split: str) -> Losses:
  """Held-out loss of each record of a split, as if it were alone in its batch: for losses that compare no records.

  Each record has noise and masks of its own, by its place in the split: two runs are judged on the same ones.
  """
  task, dataset = run.task, run.dataset
  source = reader.RecordSource(dataset, split, task.fields)

  @jax.jit
  def each(params, batch):
    def alone(record, key):
      # Nothing else is returned: the compiler leaves out what other metrics need, such as samples.
      return task.held_out(params, jax.tree.map(lambda x: x[None], record), key)["loss"]

    def mean(record):
      keys = jax.random.split(jax.random.key(0), _DRAWS)
      # What no key changes is not mapped over them, and costs no more than once.
      return jax.tree.map(lambda x: x.mean(0), jax.vmap(alone, in_axes=(None, 0))(record, keys))

    return jax.vmap(mean)(batch)

  found = []
  for begin in range(0, len(source), _TOGETHER):
    places = np.arange(begin, begin + _TOGETHER)
    place = {"position": places.astype(np.int32)}
    # The last batch ends in copies, dropped below.
    stacked = source.stacked(np.minimum(places, len(source) - 1))
    batch = {name: jnp.asarray(value) for name, value in task.to_batch(stacked | place).items()}
    kept = int((places < len(source)).sum())
    found.append(np.stack([np.asarray(part)[:kept] for part in each(run.params, batch)]))
  sums_N, counts_N = np.concatenate(found, axis=1).astype(np.float64)
  return Losses(sums_N, counts_N, labels(dataset, split)["scene"])


def probe_errors(before: Run, after: Run, target: str, split: str) -> tuple[Losses, Losses]:
  """What linear probes of both runs' features get wrong on each record: their means are 1 - score.

  Both are fitted on the same training records of `after`'s dataset, and read the weights that are deployed. Raises
  BadInput for a run without features.
  """
  dataset, runs = after.dataset, {"before": before, "after": after}

  def embedding(run: Run):
    if run.task.embed is None:
      raise BadInput(f"{run.config.objective} has no features to read", run.path, "compare losses")
    embed = jax.jit(run.task.embed)
    return lambda stacked: embed(run.params, run.task.to_batch(stacked))

  embeds = {name: embedding(run) for name, run in runs.items()}
  fields = tuple(dict.fromkeys((*before.task.fields, *after.task.fields)))
  parts = ((after.config.data.train_split, _FITTED), (split, 0))
  train, test = (read_side(dataset, part, most, fields, embeds, _TOGETHER) for part, most in parts)
  found, worst_N = errors(train, test, target)
  unit_N = labels(dataset, split)["scene"]
  return Losses(found["before"], worst_N, unit_N), Losses(found["after"], worst_N, unit_N)


def labels(dataset: Dataset, split: str) -> Labels:
  """Everything the records of a split say of themselves."""
  axes = [name for name, (shape, _) in dataset.config.spec.items() if shape == ()]
  return reader.labels(reader.RecordSource(dataset, split, axes), axes)
