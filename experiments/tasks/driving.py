"""Driving, supervised: heads on the perception model's tokens, one loss each, added up by objectives/multi_task.py.

A weight of zero leaves a head out: weights choose between a single task, several, and an end-to-end policy.
The BEV raster and the labels of SHOWN are drawn from the same scene: a model that reads it has nothing to find there.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from data.clips import BOX_CLASSES, CELL_CLASSES, ELEMENT_CLASSES, ClipConfig
from data.errors import BadInput
from data.motion import VOCABULARY
from data.records import RecordConfig
from experiments.config import Train
from experiments.losses import MultiTask
from experiments.task import Task
from experiments.tasks import perception
from experiments.tasks.driving_terms import findings, terms, units
from models.heads_config import HeadsConfig
from models.perception import summary
from models.perception_config import PerceptionConfig
from models.policy import PolicyConfig, PolicyModel
from models.reading_config import ReadConfig
from models.sensors_config import GridConfig
from objectives import imitation, tracking, uncertainty
from objectives import multi_task as objective

LABELS = (
  "cells_TxHxW",
  "boxes_TxKx7",
  "present_TxK",
  "visible_TxK",
  "class_K",
  "agent_K",
  "futures_TxKxFx2",
  "futures_mask_TxKxF",
  "elements_TxMxPx2",
  "element_class_TxM",
  "element_mask_TxM",
  "ego_TxS",
  "future_TxFx2",
  "future_mask_TxF",
  "actions_TxF",
  "actions_mask_TxF",
)

# Heads whose loss is a negative log density, per known point.
DENSITIES = ("forecasting", "plan")
SPREADS = ("forecast_spread", "plan_spread")
# Heads whose labels of a step the raster of that step shows.
SHOWN = ("segmentation", "detection", "elements")


def weighed(chosen: MultiTask) -> dict[str, float]:
  """The weights of the heads that there are."""
  return {name: w for name, w in dataclasses.asdict(chosen.weights).items() if w > 0}


def supervised(
  apply: Callable, encoder: PerceptionConfig, clips: ClipConfig, chosen: MultiTask, domains: int
) -> Callable:
  """The loss of `apply`'s answers by what was logged: (params, batch, key) -> {name: (sum, count)}."""
  every, size = terms(encoder, clips, chosen.ahead, chosen.density), units(clips, chosen.ahead)
  floors = dict.fromkeys(DENSITIES, imitation.least_nats(chosen.density))
  floors |= dict.fromkeys(SPREADS, uncertainty.least_nats(imitation.LEAST_SCALE))
  weights = weighed(chosen)
  return objective.make_loss(
    apply,
    tracking.shuffle,
    {name: every[name] for name in weights},
    {name: w / size[name] for name, w in weights.items()},
    floors,
    domains,
  )


def multi_task(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  clips = perception.clip_config(dataset_config)
  encoder = perception.perception_config(config, clips)
  weights = weighed(config.loss)
  if encoder.raster is not None and (shown := [name for name in SHOWN if name in weights]):
    what = f"the raster shows the labels of {', '.join(shown)}"
    raise BadInput(what, "config.model.sensors", "leave raster out, or set those weights to 0")
  width = config.model.width
  model_config = perception.build(
    lambda: PolicyConfig(
      encoder,
      HeadsConfig(
        names=tuple(weights),
        read=ReadConfig(width, width, config.model.head_dim, config.model.dtype),
        grid=GridConfig(clips.grid, config.loss.patch, clips.cell_m, clips.rear_m),
        ego_scales=perception.EGO_SCALES,
        cell_classes=len(CELL_CLASSES),
        box_classes=len(BOX_CLASSES),
        element_classes=len(ELEMENT_CLASSES),
        boxes=clips.boxes,
        ahead=config.loss.ahead,
        elements=clips.elements,
        element_points=clips.element_points,
        modes=config.loss.modes,
        futures=clips.futures,
        step_seconds=clips.step_seconds,
        moves=VOCABULARY,
        learned=len(weights) if config.loss.learned else 0,
      ),
    )
  )
  model = PolicyModel(model_config)
  found = findings(encoder, clips)
  loss_fn = supervised(model.apply, encoder, clips, config.loss, domains)
  rename = perception.to_batch(encoder, clips)

  def to_batch(stacked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    labels = {name: stacked[name] for name in LABELS}
    frames = (*labels["present_TxK"].shape,)
    for name in ("class", "agent"):  # of a slot; dealt anew at every step, they are of a step
      labels[f"{name}_TxK"] = np.broadcast_to(labels.pop(f"{name}_K")[:, None], frames).copy()
    return rename(stacked) | {
      f"{n.rpartition('_')[0]}_Bx{n.rpartition('_')[2]}": v for n, v in labels.items()
    }

  return Task(
    model=model,
    init=model.init,
    loss_fn=perception.lacking(encoder, config.loss.drop, loss_fn),
    held_out=loss_fn,
    fields=tuple(dict.fromkeys(perception.fields(encoder) + LABELS)),
    to_batch=to_batch,
    embed=lambda params, batch: summary(*model.apply({"params": params}, batch, method="tokens")),
    findings=lambda weights, batch: found(model.apply({"params": weights}, batch), batch),
    tokens=encoder.tokens,
  )
