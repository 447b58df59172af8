"""Driving, supervised: heads on the perception model's tokens, one loss each, added up by objectives/multi_task.py.

A weight of zero leaves a head out: weights choose between a single task, several, and an end-to-end policy.
The BEV raster and the labels of SHOWN are drawn from the same scene: a model that reads it has nothing to find there.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from data.clips import BOX_CLASSES, CELL_CLASSES, ELEMENT_CLASSES, ClipConfig
from data.errors import BadInput
from data.motion import VOCABULARY
from data.records import RecordConfig
from experiments.config import Train
from experiments.task import Task
from experiments.tasks import perception
from models.heads import straight_on
from models.heads_config import HeadsConfig
from models.perception import summary
from models.policy import PolicyConfig, PolicyModel
from models.reading_config import ReadConfig
from models.sensors_config import GridConfig
from objectives import (
  detection,
  forecasting,
  imitation,
  map_elements,
  metrics,
  segmentation,
  tracking,
)
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

DENSITIES = ("forecasting", "plan")  # heads whose loss is a negative log density, per known point


# Heads whose labels of a step the raster of that step shows.
SHOWN = ("segmentation", "detection", "elements")


def multi_task(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  clips = perception.clip_config(dataset_config)
  encoder = perception.perception_config(config, clips)
  weights = {name: w for name, w in dataclasses.asdict(config.loss.weights).items() if w > 0}
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
  every = terms(clips, config.loss.ahead, config.loss.density)
  size = units(clips, config.loss.ahead)
  floors = dict.fromkeys(DENSITIES, imitation.least_nats(config.loss.density))
  lose = perception.sensor_dropout(encoder, config.loss.drop)

  def loss_of(see: Callable) -> Callable:
    return objective.make_loss(
      model.apply,
      see,
      {name: every[name] for name in weights},
      {name: w / size[name] for name, w in weights.items()},
      floors,
      domains,
    )

  def train_see(batch, key):
    return tracking.shuffle(lose(batch, jax.random.fold_in(key, 1)), key)

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
    loss_fn=loss_of(train_see if config.loss.drop else tracking.shuffle),
    held_out=loss_of(tracking.shuffle),
    fields=tuple(dict.fromkeys(perception.fields(encoder) + LABELS)),
    to_batch=to_batch,
    embed=lambda params, batch: summary(*model.apply({"params": params}, batch, method="tokens")),
    tokens=encoder.tokens,
  )


def units(clips: ClipConfig, ahead: int) -> dict[str, int]:
  """Of each head, what a step of a clip can ask of it at most: weights are per such unit."""
  return {
    "segmentation": clips.grid**2,
    "occupancy": clips.grid**2 * ahead,
    "detection": clips.boxes,
    "elements": clips.elements,
    "forecasting": clips.boxes * clips.futures,
    "tracking": clips.boxes,
    "plan": clips.futures,
    "actions": clips.futures,
  }


def terms(clips: ClipConfig, ahead: int, density: str) -> dict[str, Callable]:
  """Head to term(answers, batch)."""

  def segment(answers, batch):
    cells = batch["cells_BxTxHxW"]
    return segmentation.loss(answers["cells_BxTxHxWxV"], cells, jnp.ones(cells.shape, bool))

  def occupy(answers, batch):
    labels, mask = segmentation.later(batch["cells_BxTxHxW"], ahead)
    found = segmentation.loss(answers["later_BxTxJxHxWxV"], labels, mask)
    still = labels == batch["cells_BxTxHxW"][:, :, None]
    return found | {"copy_accuracy": metrics.by_sample(still, mask)}

  def detect(answers, batch):
    return detection.loss(
      answers["heat_BxTxHxWxC"],
      answers["box_BxTxHxWx8"],
      batch["boxes_BxTxKx7"],
      batch["visible_BxTxK"],  # what no sensor sees is not asked for
      batch["class_BxTxK"],
      clips.cell_m,
      clips.rear_m,
    )

  def find_elements(answers, batch):
    return map_elements.loss(
      answers["element_points_BxTxQxPx2"],
      answers["element_logits_BxTxQxV"],
      batch["elements_BxTxMxPx2"],
      batch["element_class_BxTxM"],
      batch["element_mask_BxTxM"],
    )

  def forecast(answers, batch):
    return forecasting.loss(
      batch["futures_BxTxKxFx2"],
      batch["futures_mask_BxTxKxF"],
      batch["present_BxTxK"],
      answers["forecast_mean_BxTxKxNxFx2"],
      imitation.scale(answers["forecast_scale_BxTxKxNxFx2"]),
      answers["forecast_logits_BxTxKxN"],
      density,
    )

  def track(answers, batch):
    return tracking.loss(answers["affinity_BxTxKxJ"], batch["agent_BxTxK"], batch["present_BxTxK"])

  def plan(answers, batch):
    future, mask = batch["future_BxTxFx2"], batch["future_mask_BxTxF"]
    mean, raw = answers["plan_mean_BxTxNxFx2"], answers["plan_scale_BxTxNxFx2"]
    logits = answers["plan_logits_BxTxN"]
    found = imitation.trajectory(future, mask, mean, imitation.scale(raw), logits, density)
    straight = straight_on(batch["ego_BxTxS"], clips.futures, clips.step_seconds)[:, :, None]
    error = imitation.displacement(future, mask, straight)[..., 0]
    return found | {"constant_velocity": metrics.by_sample(error, mask.any(-1))}

  def act(answers, batch):
    return imitation.actions(answers["actions_BxTxFxV"], batch["actions_BxTxF"], batch["actions_mask_BxTxF"])

  return {
    "segmentation": segment,
    "occupancy": occupy,
    "detection": detect,
    "elements": find_elements,
    "forecasting": forecast,
    "tracking": track,
    "plan": plan,
    "actions": act,
  }
