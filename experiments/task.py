"""A task: what a family and an objective make of a configuration. The training loop knows nothing else of either."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from data.errors import BadInput
from data.records import RecordConfig
from experiments.config import Train

Path = tuple[str, ...]  # names from the root of the parameters to a leaf


def _all(path: Path) -> bool:
  del path
  return True


def _whole(params: Any) -> Any:
  return params


@dataclasses.dataclass(frozen=True)
class Task:
  """One family with one objective.

  Attributes:
    model: Flax module; its `config` counts parameters and FLOPs, and has a `dtype`.
    init: (key, batch) -> {"params": nested dict of boxed parameters}, all that a checkpoint holds of the model:
      {"student": ..., "teacher": ...} for one that is taught, with a projector or decoder beside the trunk.
    loss_fn: (params, batch, key) -> {name: (sum, count)}, see objectives/metrics.py.
    held_out: the same for evaluation: no dropout, and the same result for the same key.
    fields: arrays of a record that training reads. "scene" is among them only where a loss pairs records by it: no
      model reads it.
    to_batch: stacked records {name: [B, ...]} to the model's batch; `record_batch` where nothing is special.
    embed: (params, batch) -> features_BxD, what probes read; None where there is none.
    trainable: whether a leaf has gradients and optimiser state; the others move in `after`, or never.
    after: (params, metrics, step) -> params, after the update of every finite step: what moves without a gradient,
      such as the average that teaches, or a codebook by its statistics in `metrics`; steps count from 0.
    findings: (weights, batch) -> {"boxes" or "elements": {name: array}}, what was found and what is there, for
      measures that need a whole split (evaluation/heads.py); None where nothing is looked for.
    beside: training FLOPs per token of what runs beside the model and is not in its configuration's count, such as
      the forward pass of a teacher that is fixed.
    tokens: of one record, toward the budget D; None: as many as its loss counts.
    weights: params -> what is deployed: what the model applies, the next run starts with, and probes read. Deltas are
      merged; where an average of the weights teaches, it is the average (arXiv:2104.14294, arXiv:2301.08243).
    ranks: whether the run of lower held-out loss is the better one. False: the loss is a distance to targets that the
      run makes itself and falls when they collapse; probes rank such runs.
    compares: whether a record's loss depends on the other records of its batch.
  """

  model: Any
  init: Callable
  loss_fn: Callable
  held_out: Callable
  fields: tuple[str, ...]
  to_batch: Callable
  embed: Callable | None = None
  findings: Callable | None = None
  trainable: Callable[[Path], bool] = _all
  after: Callable | None = None
  beside: int = 0
  tokens: int | None = None
  weights: Callable = _whole
  ranks: bool = True
  compares: bool = False

  def flops_per_token(self) -> int:
    """Training FLOPs per token of all that a step runs: what run tables carry."""
    return self.model.config.flops_per_token() + self.beside


def batch_name(name: str) -> str:
  """The name of stacked record arrays: "tokens_TxA" is "tokens_BxTxA", "domain" is "domain_B"."""
  stem, underscore, axes = name.rpartition("_")
  return f"{stem}_Bx{axes}" if underscore else f"{axes}_B"


def record_batch(fields: tuple[str, ...]) -> Callable:
  """A `to_batch` that renames the fields and adds `real_B`: whether a record is one, or fills up the batch.

  Evaluation fills up its last batch with zeros and says so in "real"; in training all are real. It also tells each
  record's place in the split, "position", by which noise and masks are drawn (objectives/draws.py).
  """

  def to_batch(stacked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    batch = {batch_name(name): stacked[name] for name in fields}
    rows = len(next(iter(batch.values())))
    batch["real_B"] = stacked.get("real", np.ones(rows, bool))
    return batch | ({"position_B": stacked["position"]} if "position" in stacked else {})

  return to_batch


def make_task(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """The task of a configuration.

  Args: dataset_config: shapes of the dataset's records (`Dataset.config`); domains: how many the dataset has.

  Raises BadInput for a family and an objective that have no task, a dataset of the wrong kind, and what the
  family refuses.
  """
  from experiments.adaptation import adapted  # imports Task

  tasks = all_tasks()
  pair = config.family, config.objective
  if pair not in tasks:
    known = ", ".join(f"{family} with {objective}" for family, objective in tasks)
    raise BadInput(f"{pair[0]} has no objective {pair[1]}", "config.objective", f"choose one of {known}")
  task = tasks[pair](config, dataset_config, domains)
  if config.data.mixture.correct != "none" and task.compares:
    what = f"{config.objective} compares the records of a batch, which no weight makes natural"
    raise BadInput(what, "config.data.mixture.correct", "set it to none")
  return adapted(task, config)


def all_tasks() -> dict[tuple[str, str], Callable]:
  """(family, objective) to (config, dataset_config, domains) -> Task. Imported here, as all of them import Task."""
  from experiments.tasks import (
    codes,
    contrastive,
    distillation,
    driving,
    generative,
    masked,
    motion,
    taught,
    tokeniser,
  )

  return {
    ("motion", "next_token"): motion.next_token,
    ("motion", "distillation"): distillation.motion_tokens,
    ("perception", "masked"): masked.masked,
    ("perception", "contrastive"): contrastive.contrastive,
    ("perception", "self_distillation"): taught.self_distillation,
    ("perception", "jepa"): taught.jepa,
    ("perception", "multi_task"): driving.multi_task,
    ("perception", "policy_distillation"): distillation.policy,
    ("perception", "flow_matching"): generative.flow,
    ("perception", "diffusion"): generative.diffuse,
    ("codes", "next_token"): codes.next_token,
    ("bev_tokeniser", "reconstruction"): tokeniser.reconstruction,
  }
