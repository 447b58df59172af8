"""Composition: which model, loss and batch a configuration means."""

import dataclasses
from collections.abc import Callable

import numpy as np

from data import context, motion
from data.errors import BadInput
from experiments.config import Train
from models.motion import MotionModel
from models.motion_config import MotionConfig
from objectives import next_token

# Window arrays that training reads, and their names once stacked.
FIELDS = {
  "tokens_TxA": "tokens_BxTxA",
  "valid_TxA": "valid_BxTxA",
  "mask_TxA": "mask_BxTxA",
  "moving_A": "moving_BxA",
  "features_TxAxF": "features_BxTxAxF",
  "group_A": "group_BxA",
  "type_A": "type_BxA",
  "domain": "domain_B",
}


@dataclasses.dataclass(frozen=True)
class Task:
  """Attributes:
  model: Flax module. loss_fn: (params, batch, key) -> {name: (sum, count)}.
  to_batch: stacked window arrays [B, ...] to the model's batch.
  """

  model: MotionModel
  loss_fn: Callable
  to_batch: Callable


def make_task(config: Train, steps: int, agents: int, domains: int) -> Task:
  """Args: steps, agents: window shape; domains: number of domains in the dataset."""
  if config.family != "motion":
    raise BadInput(f"family is {config.family!r}", "config.family", "choose motion")
  if config.objective != "next_token":
    raise BadInput(f"objective is {config.objective!r}", "config.objective", "choose next_token")
  try:
    model = MotionModel(
      MotionConfig(
        factors=(len(motion.ACCELERATIONS), len(motion.YAW_RATES)),
        features=context.FEATURES,
        steps=steps,
        agents=agents,
        **dataclasses.asdict(config.model),
      )
    )
  except ValueError as error:
    raise BadInput(str(error), "config.model", "choose another width or head_dim") from None
  loss_fn = next_token.make_loss(model.apply, config.optimizer.z_loss, domains)
  hide = _blind(config.data.blind_to)

  def to_batch(stacked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return hide({FIELDS[name]: value for name, value in stacked.items() if name in FIELDS})

  return Task(model, loss_fn, to_batch)


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
