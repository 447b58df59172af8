"""What each head of a driving model is asked, and how its answer is judged: labels of clips to losses and metrics."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from data import rigs
from data.clips import FIRST_BOX_CLASS, ClipConfig
from models import geometry
from models.perception_config import PerceptionConfig
from objectives import (
  detection,
  forecasting,
  imitation,
  map_elements,
  metrics,
  segmentation,
  tracking,
  uncertainty,
  visibility,
)

PEAKS = 32  # of the heat of a step, that are taken for boxes


def units(clips: ClipConfig, ahead: int) -> dict[str, int]:
  """Of each head, what a step of a clip can ask of it at most: weights are per such unit."""
  return {
    "segmentation": clips.grid**2,
    "occupancy": clips.grid**2 * ahead,
    "detection": clips.boxes,
    "elements": clips.elements,
    "forecasting": clips.boxes * clips.futures,
    "forecast_spread": clips.boxes * clips.futures,
    "tracking": clips.boxes,
    "plan": clips.futures,
    "plan_spread": clips.futures,
    "actions": clips.futures,
  }


def terms(sensors: PerceptionConfig, clips: ClipConfig, ahead: int, density: str) -> dict[str, Callable]:
  """Head to term(answers, batch)."""
  seen = visible(sensors, clips)

  def segment(answers, batch):
    cells = batch["cells_BxTxHxW"]
    return segmentation.loss(answers["cells_BxTxHxWxV"], cells, jnp.ones(cells.shape, bool))

  def occupy(answers, batch):
    labels, mask = segmentation.later(batch["cells_BxTxHxW"], ahead)
    found = segmentation.loss(answers["later_BxTxJxHxWxV"], labels, mask)
    still = labels == batch["cells_BxTxHxW"][:, :, None]
    return found | {"copy_accuracy": metrics.by_sample(still, mask)}

  def detect(answers, batch):
    boxes, seen_BxTxK = batch["boxes_BxTxKx7"], seen(batch)
    return detection.loss(
      answers["heat_BxTxHxWxC"],
      answers["box_BxTxHxWx8"],
      boxes,
      seen_BxTxK,
      batch["class_BxTxK"],
      unsure(batch, seen_BxTxK, clips),
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
    future, mask, present = (
      batch[name] for name in ("futures_BxTxKxFx2", "futures_mask_BxTxKxF", "present_BxTxK")
    )
    mean, raw = answers["forecast_mean_BxTxKxNxFx2"], answers["forecast_scale_BxTxKxNxFx2"]
    logits = answers["forecast_logits_BxTxKxN"]
    found = forecasting.loss(future, mask, present, mean, imitation.scale(raw), logits, density)
    centre = jnp.where(present[..., None], batch["boxes_BxTxKx7"][..., :2], 0)
    velocity, _ = geometry.velocities(
      centre, batch["agent_BxTxK"], present, batch["ego_BxTxS"], clips.step_seconds
    )
    straight = geometry.straight_on(centre, velocity, clips.futures, clips.step_seconds)
    known = mask & present[..., None]
    error = imitation.displacement(future, known, straight[..., None, :, :])[..., 0]
    return found | {"constant_velocity": metrics.by_sample(error, known.any(-1))}

  def track(answers, batch):
    return tracking.loss(answers["affinity_BxTxKxJ"], batch["agent_BxTxK"], batch["present_BxTxK"])

  def plan(answers, batch):
    future, mask = batch["future_BxTxFx2"], batch["future_mask_BxTxF"]
    mean, raw = answers["plan_mean_BxTxNxFx2"], answers["plan_scale_BxTxNxFx2"]
    logits = answers["plan_logits_BxTxN"]
    found = imitation.trajectory(future, mask, mean, imitation.scale(raw), logits, density)
    simple = {
      "constant_velocity": geometry.ego_straight_on(batch["ego_BxTxS"], clips.futures, clips.step_seconds),
      "constant_turn": geometry.going_on(batch["ego_BxTxS"], clips.futures, clips.step_seconds),
    }
    for name, path in simple.items():
      error = imitation.displacement(future, mask, path[:, :, None])[..., 0]
      found |= {name: metrics.by_sample(error, mask.any(-1))}
    return found

  def trust(future, mask, mean, logits, raw):
    """Of the likeliest trajectory, which learns nothing from it."""
    miss = jnp.linalg.norm(future - jax.lax.stop_gradient(imitation.likeliest(mean, logits)), axis=-1)
    return uncertainty.circles(miss, imitation.scale(raw), mask)

  def trust_plan(answers, batch):
    future, mask = batch["future_BxTxFx2"], batch["future_mask_BxTxF"]
    modes = answers["plan_mean_BxTxNxFx2"], answers["plan_logits_BxTxN"]
    return trust(future, mask, *modes, answers["plan_spread_BxTxF"])

  def trust_forecast(answers, batch):
    mask = batch["futures_mask_BxTxKxF"] & batch["present_BxTxK"][..., None]
    modes = answers["forecast_mean_BxTxKxNxFx2"], answers["forecast_logits_BxTxKxN"]
    return trust(batch["futures_BxTxKxFx2"], mask, *modes, answers["forecast_spread_BxTxKxF"])

  def act(answers, batch):
    return imitation.actions(answers["actions_BxTxFxV"], batch["actions_BxTxF"], batch["actions_mask_BxTxF"])

  return {
    "segmentation": segment,
    "occupancy": occupy,
    "detection": detect,
    "elements": find_elements,
    "forecasting": forecast,
    "forecast_spread": trust_forecast,
    "tracking": track,
    "plan": plan,
    "plan_spread": trust_plan,
    "actions": act,
  }


def unsure(batch, seen_BxTxK, clips: ClipConfig):
  """Bool [B, T, H, W]: cells where nobody can say whether there is an agent to be found."""
  agents = batch["cells_BxTxHxW"] >= FIRST_BOX_CLASS
  boxes = batch["boxes_BxTxKx7"], batch["present_BxTxK"]
  return detection.unsure(agents, *boxes, seen_BxTxK, clips.cell_m, clips.rear_m)


def findings(sensors: PerceptionConfig, clips: ClipConfig) -> Callable:
  """(answers, batch) -> {"boxes" or "elements", by the heads there are: {name: array}}.

  score, kind and place of answers, the surest first; free: those that are no mistake where they match nothing. truth,
  truth_kind and there: what is to be found.
  """
  seen = visible(sensors, clips)

  def find(answers, batch):
    found = {}
    if "heat_BxTxHxWxC" in answers:
      heads, grid = (answers["heat_BxTxHxWxC"], answers["box_BxTxHxWx8"]), (clips.cell_m, clips.rear_m)
      score, kind, boxes = detection.decode(*heads, PEAKS, *grid)
      seen_BxTxK = seen(batch)
      found["boxes"] = {
        "score_BxTxN": score,
        "kind_BxTxN": kind,
        "place_BxTxNx7": boxes,
        "free_BxTxN": detection.at(unsure(batch, seen_BxTxK, clips), boxes, *grid),
        "truth_BxTxKx7": batch["boxes_BxTxKx7"],
        "truth_kind_BxTxK": batch["class_BxTxK"],
        "there_BxTxK": seen_BxTxK,
      }
    if "element_logits_BxTxQxV" in answers:
      share = jax.nn.softmax(answers["element_logits_BxTxQxV"])[..., :-1]
      found["elements"] = {
        "score_BxTxN": share.max(-1),
        "kind_BxTxN": share.argmax(-1),
        "place_BxTxNxPx2": answers["element_points_BxTxQxPx2"],
        "free_BxTxN": jnp.zeros(share.shape[:-1], bool),
        "truth_BxTxKxPx2": batch["elements_BxTxMxPx2"],
        "truth_kind_BxTxK": batch["element_class_BxTxM"],
        "there_BxTxK": batch["element_mask_BxTxM"],
      }
    return found

  return find


def visible(sensors: PerceptionConfig, clips: ClipConfig) -> Callable:
  """batch -> bool [B, T, K]: agents that the sensors which the model reads can have seen, as told by the labels.

  With all of a rig's sensors that is what the labels say. With fewer, an agent counts where an echo lies on it, or
  where it is in the image of a camera; the cells of the others are then left out (objectives/detection.py).
  """
  theirs = {"lidar": clips.lidar is not None, "camera": bool(clips.cameras)}
  kinds = [name for name, there in theirs.items() if there]
  read = list(sensors.sensors)
  aspect = clips.image_height / clips.image_width
  wide = np.array([np.tan(0.5 * camera.fov) for camera in clips.cameras], np.float32)
  cameras = (
    np.array([camera.position for camera in clips.cameras], np.float32),
    np.array([rigs.rotation(camera) for camera in clips.cameras], np.float32),
    np.stack([wide, aspect * wide], -1),
  )

  def seen(batch):
    labelled, agents = batch["visible_BxTxK"], (batch["boxes_BxTxKx7"], batch["present_BxTxK"])
    if not kinds or ("sensed_BxM" not in batch and set(kinds) <= set(read)):
      return labelled
    rows = len(batch["real_B"])
    sensed = batch.get("sensed_BxM", jnp.ones((rows, len(read)), bool))
    at_work = {name: sensed[:, read.index(name)] if name in read else jnp.zeros(rows, bool) for name in kinds}
    every = jnp.stack(list(at_work.values())).all(0)
    some = jnp.zeros(labelled.shape, bool)
    if "lidar" in read:
      echoed = visibility.echoed(batch["points_BxTxPx4"], batch["echo_BxTxP"], *agents)
      some |= at_work["lidar"][:, None, None] & echoed
    if "camera" in read:
      some |= at_work["camera"][:, None, None] & visibility.in_view(*agents, *map(jnp.asarray, cameras))
    return labelled & (every[:, None, None] | some)

  return seen
