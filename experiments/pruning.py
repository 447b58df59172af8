"""Beginning with what pruning leaves of a finished run: `start.other_shapes` says how its parts are ranked.

  magnitude    their squared weights
  taylor       what the run's own loss would lose without them, to first order, over batches of this run
  random       by the seed, to compare with

What stays has the shape of `config.model`: the same family, with fewer `heads`, `hidden` units or `layers`; every
block keeps as many. The run that begins so recovers as any other trains: on its own objective, or following the whole
run as its `loss.teacher`. start.json tells which parts were kept. Pruned in steps: runs that start from one another.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax

from data import reader
from data.datasets import Dataset
from data.errors import BadInput
from experiments import start
from experiments.config import Train
from experiments.setup import Setup, stream
from experiments.task import make_task
from models import pruning
from models.layers import stacked, unstacked

if TYPE_CHECKING:
  from experiments.run import Run

BATCHES = 32  # that taylor looks at


def pruned(base: "Run", setup: Setup) -> tuple[dict, dict[str, list[int]]]:
  """(what is left of the weights of `base` in the shape of the setup's model, {"module axis": the parts kept}).

  Raises BadInput for a shape that pruning does not lead to, and for a base whose deltas or adapters are beside it.
  """
  if base.config.adaptation.method != "none":
    what = f"learned by {base.config.adaptation.method}, beside weights that did not"
    raise BadInput(what, "config.start.run", "prune a run that learned whole")
  boxed = shapes(base.config, setup.dataset)
  axes, large = pruning.axes_of(boxed), nn.unbox(boxed)
  small = nn.unbox(shapes(setup.config, setup.dataset))
  weights = unstacked(nn.unbox(base.weights), large)
  scores = ranked(base, setup, weights, axes, large)
  try:
    left, kept = pruning.prune(weights, axes, small, scores)
  except ValueError as error:
    remedy = "choose fewer model.heads, model.hidden or model.layers than there, and the rest as it is there"
    raise BadInput(str(error), "config.model", remedy) from None
  if setup.config.model.scan:
    left = stacked(left, nn.unbox(shapes(setup.config, setup.dataset, unrolled=False)))
  return left, {f"{'/'.join(module)} {axis}".strip(): numbers for (module, axis), numbers in kept.items()}


def ranked(base: "Run", setup: Setup, weights: dict, axes: dict, large: dict) -> pruning.Scores:
  """How much each part of the base's unrolled weights is needed."""
  method = setup.config.start.other_shapes
  if method == "magnitude":
    return jax.jit(lambda weights: pruning.magnitude(weights, axes))(weights)
  if method == "random":
    return pruning.drawn(weights, axes, jax.random.key(setup.config.seed))
  return pruning.mean(list(by_taylor(base, setup, axes, large)))


def by_taylor(base: "Run", setup: Setup, axes: dict, large: dict) -> Iterator[pruning.Scores]:
  """What each of the first batches that this run reads says, by the base's own loss."""
  deployed = nn.unbox(base.weights)
  carried = start.compare(base.params, deployed, "refuse")

  @jax.jit
  def scores(weights, batch, key):
    def loss(weights):
      total, count = base.task.loss_fn(start.insert(base.params, weights, carried), batch, key)["objective"]
      return total / count

    apart, slopes = (unstacked(tree, large) for tree in (weights, jax.grad(loss)(weights)))
    return pruning.taylor(apart, slopes, axes)

  data = setup.config.data
  source = reader.RecordSource(setup.dataset, data.train_split, base.task.fields, limit=data.unique_windows)
  read = dataclasses.replace(setup, task=base.task, source=source)
  for number, batch in enumerate(itertools.islice(stream(read, 0), BATCHES)):
    yield scores(deployed, batch, jax.random.fold_in(setup.key, number))


def shapes(config: Train, dataset: Dataset, unrolled: bool = True) -> Any:
  """The boxed shapes of a configuration's model."""
  if unrolled:
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, scan=False))
  task = make_task(config, dataset.config, len(dataset.domains))
  return jax.eval_shape(task.model.init, jax.random.key(0), task.to_batch(dataset.example()))["params"]
