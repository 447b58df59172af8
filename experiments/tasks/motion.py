"""The motion world model: windows of agents' moves, and the next one to be told."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from data import context, motion
from data.errors import BadInput
from data.records import RecordConfig
from data.windows import WindowConfig
from experiments.adaptation import room
from experiments.config import Train
from experiments.task import Task, batch_name
from models.motion import MotionModel, embed
from models.motion_config import MotionConfig
from objectives.next_token import make_loss

FIELDS = (
  "tokens_TxA",
  "valid_TxA",
  "mask_TxA",
  "moving_A",
  "features_TxAxF",
  "group_A",
  "type_A",
  "domain",
)


def next_token(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """A record that fills up a batch has no supervised move, and so counts nothing."""
  if not isinstance(dataset_config, WindowConfig):
    what = f"family motion reads windows, the dataset holds {dataset_config.kind}"
    raise BadInput(what, "config.data.dataset", "choose a dataset of windows")
  try:
    model = MotionModel(
      MotionConfig(
        factors=(len(motion.ACCELERATIONS), len(motion.YAW_RATES)),
        features=context.FEATURES,
        steps=dataset_config.steps,
        agents=dataset_config.agents,
        **dataclasses.asdict(config.model),
        adapter=room(config.adaptation, "adapter"),
        prefix=room(config.adaptation, "prefix"),
      )
    )
  except ValueError as error:
    raise BadInput(str(error), "config.model", "choose another width or head_dim") from None
  loss_fn = make_loss(model.apply, config.loss.z_weight, domains)
  hide = _blind(config.data.blind_to)

  def to_batch(stacked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return hide({batch_name(name): stacked[name] for name in FIELDS})

  return Task(model, model.init, loss_fn, loss_fn, FIELDS, to_batch, embed=functools.partial(embed, model))


def _blind(blind_to: str) -> Callable:
  """Ablations: hide the map features, or the other agents (features, attention and moves)."""
  if blind_to == "":
    return lambda batch: batch
  block = context.MAP if blind_to == "map" else context.AGENTS

  def hide(batch):
    features = batch["features_BxTxAxF"].copy()
    features[..., block] = 0
    batch = batch | {"features_BxTxAxF": features}
    if blind_to == "agents":  # everyone alone in a group of its own
      group = np.arange(1, features.shape[2] + 1, dtype=np.uint8)
      batch["group_BxA"] = np.broadcast_to(group, batch["group_BxA"].shape).copy()
    return batch

  return hide
