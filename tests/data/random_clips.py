"""Batches of random clips that keep every promise of data.clips: for tests that need shapes and ranges, no meaning."""

import dataclasses

import numpy as np

from data import motion
from data.clips import (
  BOX_CLASSES,
  CELL_CLASSES,
  ELEMENT_CLASSES,
  LIGHTS,
  PIXEL_CLASSES,
  RARE,
  WEATHERS,
  ClipConfig,
)

TINY = ClipConfig(
  rig="pair", steps=3, step_seconds=0.5, image_height=16, image_width=32, beams=4, azimuths=16, grid=16, cell_m=4.0,
  rear_m=16.0, boxes=4, futures=3, elements=5, element_points=4,
)  # fmt: skip

_BELOW = {
  "pixel_class_TxCxHxW": len(PIXEL_CLASSES), "point_class_TxP": len(PIXEL_CLASSES),
  "cells_TxHxW": len(CELL_CLASSES), "class_K": len(BOX_CLASSES), "element_class_TxM": len(ELEMENT_CLASSES),
  "actions_TxF": motion.VOCABULARY, "scene": 1000, "domain": 3, "weather": len(WEATHERS), "light": len(LIGHTS),
  "rare": len(RARE), "images_TxCxHxWx3": 256, "raster_TxHxWxC": 256,
}  # fmt: skip


def tiny_config(**changed) -> ClipConfig:
  """A config small enough for any test."""
  return dataclasses.replace(TINY, **changed)


def random_clips(config: ClipConfig, count: int, seed: int = 0) -> dict[str, np.ndarray]:
  """A batch [count, ...] under batch names (`images_BxTxCxHxWx3`, `domain_B`)."""
  rng = np.random.default_rng(seed)
  values = {}
  for name, (shape, dtype) in config.spec.items():
    shape = (count, *shape)
    if name in _BELOW:
      values[name] = rng.integers(0, _BELOW[name], shape).astype(dtype)
    elif dtype is np.bool_:
      values[name] = rng.random(shape) < 0.8
    else:
      values[name] = rng.normal(0, 10, shape).astype(dtype)
  used = rng.random((count, config.boxes)) < 0.8
  values["agent_K"] = np.where(used, 1 + np.arange(config.boxes), -1).astype(np.int32)
  values["class_K"] *= used
  values["present_TxK"] &= used[:, None]
  values["visible_TxK"] &= values["present_TxK"]
  values["futures_mask_TxKxF"] &= values["present_TxK"][..., None]
  values["points_TxPx4"][..., 3] = rng.random(values["echo_TxP"].shape)
  values["boxes_TxKx7"][..., 3:6] = rng.uniform(0.5, 5, (*values["present_TxK"].shape, 3))
  values["boxes_TxKx7"][..., 6] = rng.uniform(-np.pi, np.pi, values["present_TxK"].shape)
  for name, mask in (
    ("points_TxPx4", "echo_TxP"), ("boxes_TxKx7", "present_TxK"), ("futures_TxKxFx2", "futures_mask_TxKxF"),
    ("elements_TxMxPx2", "element_mask_TxM"), ("future_TxFx2", "future_mask_TxF"),
    ("actions_TxF", "actions_mask_TxF"), ("element_class_TxM", "element_mask_TxM"), ("point_class_TxP", "echo_TxP"),
  ):  # fmt: skip
    shown = values[mask]
    values[name] = np.where(
      shown.reshape(shown.shape + (1,) * (values[name].ndim - shown.ndim)), values[name], 0
    )
  return {batch_name(name): value.astype(config.spec[name][1]) for name, value in values.items()}


def batch_name(name: str) -> str:
  """`images_TxC...` to `images_BxTxC...`, `domain` to `domain_B`, as batches of a trainer are named."""
  stem, _, axes = name.rpartition("_")
  return f"{stem}_Bx{axes}" if stem and axes[:1].isupper() else f"{name}_B"
