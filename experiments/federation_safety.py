"""Whom a federated run trusts, as configured: attackers, robust aggregates, the golden set, privacy.

And the logs that it is judged on: they must be others than those that vehicles hold.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data import leaks, reader, scene_labels
from data.datasets import Dataset
from data.errors import BadInput
from data.traces import Trace
from experiments.federation_config import AggregateConfig, AttackConfig, Federation, GoldenConfig
from experiments.task import Task
from federated import accounting, attacks, golden, privacy, robust
from federated.rounds import Algorithm, Transmit
from models.trainable import insert

_TOGETHER = 32  # golden records judged at a time


def refuse_leaks(dataset: Dataset, train: str, held_out: tuple[str, ...], accepted: str) -> None:
  """Raises BadInput where vehicles hold a scene, or show a route, that a held-out split has, too."""
  for split in dict.fromkeys(held_out):
    if split == train:
      raise BadInput(f"vehicles hold the split {train!r} that they are judged on", "config", "name another")
  if not dataset.holds("scenes") or "same_route_same_day" in accepted.split(","):
    return
  nothing = np.zeros(0, np.uint64)
  parts = {
    split: [Trace(scene.metadata, 0.0, nothing) for scene in dataset.scenes(split)]
    for split in dict.fromkeys((train, *held_out))
  }
  for leak in leaks.same_route_same_day(parts):
    if train in leak.splits:
      remedy = "split by route, or name same_route_same_day in config.accept"
      raise BadInput(leak.what, dataset.path, remedy)


def make_attack(config: AttackConfig, transmit: Transmit, common: jax.Array) -> Transmit:
  """The links of a round in which all attackers know the key `common`; what they keep: see attacks.by_some."""
  if config.name == "none":
    return transmit
  attack = {
    "sign_flip": lambda: attacks.sign_flip(config.factor),
    "scaling": lambda: attacks.scaling(config.factor),
    "colluding_gaussian": lambda: attacks.colluding_gaussian(common, config.factor),
  }[config.name]()
  return attacks.by_some(attack, transmit)


def make_aggregate(config: AggregateConfig, clients: int, key: jax.Array) -> robust.Aggregate | None:
  """None: the weighted mean. key: of a round's groups.

  Raises BadInput for clients that are too few to withstand the attackers.
  """
  if config.name == "mean":
    return None
  made = {
    "median": lambda: robust.median,
    "trimmed_mean": lambda: robust.trimmed_mean(config.share),
    "multi_krum": lambda: robust.multi_krum(config.byzantine, config.keep),
    "centred_clipping": lambda: robust.centred_clipping(config.radius, config.iterations),
  }[config.name]()
  if config.group > 1:
    made = robust.grouped(made, config.group, key)
  jax.eval_shape(made, jnp.zeros((clients, 1)), jnp.ones(clients))  # whoever refuses a cohort does so now
  return made


class Privacy:
  """What a configuration promises, and how it is kept.

  noise: in clips. epsilon: what the accountant says that the whole run spends; of `local`, on a vehicle that takes
  part in every round.
  """

  def __init__(self, config: Federation):
    """Raises BadInput for an epsilon that cannot be met, and for what would break the promise unseen."""
    self.config, self.vehicles = config.privacy, config.fleet.vehicles
    self.expected = config.clients * config.fleet.reached
    wanted = self.config
    if wanted.noise == 0 and wanted.epsilon == 0:
      raise BadInput("neither noise nor epsilon is given", "config.privacy", "say which is wanted")
    if config.up.codec != "none":
      what = "a codec makes updates longer than the clip, or remembers them"
      raise BadInput(what, "config.up", "send private updates as they are")
    if wanted.name == "central":
      if config.aggregate.name != "mean":
        what = f"noise is measured for a mean, not for a {config.aggregate.name}"
        raise BadInput(what, "config.aggregate", "choose mean, or local privacy")
      schedule, scale = accounting.Schedule(self.vehicles, config.clients, config.rounds, "fixed"), 1.0
    else:  # its own deviation is of two clips, as two updates may be two clips apart
      schedule, scale = accounting.Schedule(1, 1, config.rounds, "fixed"), 2.0
    # Beyond one clip a client the mean is noise alone.
    self.noise = wanted.noise or (
      accounting.least_noise(schedule, wanted.epsilon, wanted.delta, scale * config.clients) / scale
    )
    self.epsilon = accounting.epsilon(schedule, scale * self.noise, wanted.delta)
    if wanted.epsilon and self.epsilon > wanted.epsilon:
      what = (
        f"epsilon {wanted.epsilon:g} cannot be met: noise of {self.noise:g} clips spends {self.epsilon:.3g}"
      )
      raise BadInput(what, "config.privacy.noise", "raise it, or 0 for the least that keeps to epsilon")

  def keep(self, algorithm: Algorithm, key: jax.Array) -> Algorithm:
    """The algorithm of a round whose noise is drawn from this key."""
    c = self.config
    if c.name == "local":
      return privacy.local(algorithm, c.clip, self.noise)
    quantile = privacy.Quantile(c.quantile, c.quantile_rate, c.quantile_noise) if c.quantile else None
    return privacy.central(algorithm, c.clip, self.noise, self.expected, self.vehicles, key, quantile)


class GoldenSet:
  """records: on devices. slice_PxS: which scenes each slice holds, the first all."""

  def __init__(self, config: GoldenConfig, task: Task, dataset: Dataset):
    """Raises BadInput for an axis that records do not carry."""
    axes = [name for name in config.axes.split(",") if name]
    source = reader.RecordSource(dataset, config.split, task.fields)
    labels, _ = scene_labels.of_records(dataset, config.split, axes)
    scenes, first, self._scene_N = np.unique(labels["scene"], return_index=True, return_inverse=True)
    self._task, self._config, self._scenes = task, config, len(scenes)
    slices = [labels[axis][first] == value for axis in axes for value in np.unique(labels[axis])]
    self.slice_PxS = np.stack([np.ones(self._scenes, bool), *slices])
    stacked = source.stacked(np.arange(len(source)))
    self.records = {name: jnp.asarray(value) for name, value in task.to_batch(stacked).items()}

  def scores(self, fixed: dict[str, Any], learning: Any) -> golden.Scores:
    """(sums_S, counts_S) of the loss over each scene. fixed: {"params": weights, "golden": records}."""
    params = insert(fixed["params"], learning)

    def alone(record):
      one = jax.tree.map(lambda x: x[None], record)
      return self._task.held_out(params, one, jax.random.key(0))["loss"]

    sums_N, counts_N = jax.lax.map(alone, fixed["golden"], batch_size=_TOGETHER)
    by_scene = functools.partial(jax.ops.segment_sum, segment_ids=self._scene_N, num_segments=self._scenes)
    return by_scene(sums_N), by_scene(counts_N)

  def guarding(self, run: Callable, fixed: dict[str, Any]) -> Callable:
    """The round `run`, undone where this set says so."""
    measure = functools.partial(self.scores, fixed)
    return golden.guarded(run, measure, self.slice_PxS, self._config.level, self._config.tolerance)
