"""What a run is made of before its first step: mesh, model, data, the shape of its state, compiled functions."""

import dataclasses
import math
from collections.abc import Callable, Iterator

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from data import mixtures, reader
from data.datasets import Dataset
from experiments import mesh as meshes
from experiments import step as steps
from experiments.config import Train
from experiments.optimizer import make_optimizer, schedule
from experiments.task import Task, make_task


@dataclasses.dataclass(frozen=True)
class Setup:
  """Attributes:
  config, dataset: as given. mesh, task, source, order (of the source's records): what they mean here.
  tokens_per_record: on average, toward the budget.
  total: steps of the whole run, as many as spend `config.tokens`.
  rate: learning rate at a step, from 0.
  key: typed key of the run, on the mesh; a step folds its number in.
  spec: shapes and shardings of the state; nothing is allocated.
  init: key -> a fresh state. step: (state, batch, key) -> (state, metrics), see experiments/step.py.
  """

  config: Train
  dataset: Dataset
  mesh: Mesh
  task: Task
  source: reader.RecordSource
  order: mixtures.Order
  tokens_per_record: float
  total: int
  rate: optax.Schedule
  key: jax.Array
  spec: steps.State
  init: Callable
  step: Callable


def make_setup(config: Train, dataset: Dataset) -> Setup:
  """Everything a run needs, on all devices; raises BadInput for what the configuration cannot mean."""
  data, optimizer = config.data, config.optimizer
  mesh = meshes.make_mesh(**dataclasses.asdict(config.mesh))
  task = make_task(config, dataset.config, len(dataset.domains))
  source = reader.RecordSource(dataset, data.train_split, task.fields, limit=data.unique_windows)
  # A split that is not there must not wait for the end.
  reader.RecordSource(dataset, data.eval_split, task.fields)
  tokens_per_record = float(task.tokens or source.tokens_per_record)
  total = math.ceil(config.tokens / (data.batch_windows * tokens_per_record))
  tx = make_optimizer(optimizer, total, config.model.width)
  key = meshes.make_key(config.seed, mesh)
  example = task.to_batch(source.stacked(np.zeros(data.batch_windows, np.int64)))
  spec, init = steps.abstract_state(task, tx, mesh, example, key)
  meshes.require_fit(spec, example, optimizer.accumulate, mesh)
  step = steps.make_step(task, tx, mesh, spec, optimizer.accumulate)
  rate = schedule(optimizer, total)
  order = _order(config, dataset, len(source))
  return Setup(
    config, dataset, mesh, task, source, order, tokens_per_record, total, rate, key, spec, init, step
  )


def _order(config: Train, dataset: Dataset, records: int) -> mixtures.Order:
  """Every record once an epoch, without reading one, or what the configuration mixes."""
  mixture = dataclasses.asdict(config.data.mixture)
  del mixture["correct"]
  if not any(mixture[name] for name in ("only", "axes", "boosts", "replay")):
    return mixtures.Natural(np.arange(records), config.seed)
  axes = [name for name, (shape, _) in dataset.config.spec.items() if shape == ()]
  source = reader.RecordSource(dataset, config.data.train_split, axes, limit=config.data.unique_windows)
  labels = reader.labels(source, axes)
  return mixtures.mixed(labels, {"domain": dataset.domains}, **mixture, seed=config.seed)


def stream(setup: Setup, start: int) -> Iterator[dict[str, jax.Array]]:
  """Endless batches on the mesh, from global record `start` of the run's order on."""
  data, (part, parts) = setup.config.data, meshes.batch_share(setup.mesh)
  correct = data.mixture.correct == "importance"
  batches = reader.batches(
    setup.source, data.batch_windows, setup.order, start, part, parts, data.read_threads, correct
  )

  def to_batch(stacked):
    weight = {"weight_B": stacked["weight"]} if correct else {}
    return setup.task.to_batch(stacked) | weight

  return (meshes.put_batch(to_batch(batch), setup.mesh) for batch in batches)
