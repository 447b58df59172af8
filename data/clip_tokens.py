"""What a clip is as tokens: each of its sensors and labels by the tokeniser of its shapes (data/tokens.py)."""

import dataclasses
from collections.abc import Callable

import numpy as np

from data.clips import BOX_CLASSES, CELL_CLASSES, EGO_STATES, ELEMENT_CLASSES, Clip, ClipConfig
from data.grid_tokens import GridTokens
from data.patches import Patches
from data.tokens import Tokeniser, Tokens
from data.vector_tokens import ActionTokens, box_tokens, polyline_tokens
from data.voxels import Voxels

_PATCH, _TUBELET = 8, 2  # pixels of a side, frames
_BINS = 128  # of a length or an angle
_LOW_M, _HIGH_M = -3.0, 5.0  # of pillars, over the ego's origin
_CONTROLS = [EGO_STATES.index("acceleration"), EGO_STATES.index("yaw_rate")]


@dataclasses.dataclass(frozen=True)
class ClipTokens:
  """Attributes:
  tokeniser: of one of the clip's sensors or labels. fields: arrays of the clip that it reads.
  encode: clip -> tokens of its T frames. padded: whether some tokens may say nothing, for want of things to say.
  """

  tokeniser: Tokeniser
  fields: tuple[str, ...]
  encode: Callable[[Clip], Tokens]
  padded: bool


def clip_tokens(clip: ClipConfig) -> dict[str, ClipTokens]:
  """Name to tokens, of all that clips of these shapes hold. Cameras are tokenised one by one: tokens [C, N, D]."""
  side = clip.grid * clip.cell_m
  reach = max(side - clip.rear_m, clip.rear_m, side / 2)
  boxes = box_tokens(clip.boxes, reach, _BINS, len(BOX_CLASSES))
  lines = polyline_tokens(clip.elements, clip.element_points, reach, _BINS, len(ELEMENT_CLASSES))
  actions = ActionTokens()

  def encode_boxes(one: Clip) -> Tokens:
    kind_TxK = np.broadcast_to(one["class_K"], one["present_TxK"].shape)
    return boxes.encode(np.concatenate([one["boxes_TxKx7"], kind_TxK[..., None]], -1), one["present_TxK"])

  def encode_lines(one: Clip) -> Tokens:
    points = one["elements_TxMxPx2"].reshape(clip.steps, clip.elements, -1)
    rows = np.concatenate([one["element_class_TxM"][..., None], points], -1)
    return lines.encode(rows, one["element_mask_TxM"])

  found = {
    "cells": of_cells(GridTokens(clip.grid, clip.grid, len(CELL_CLASSES))),
    "boxes": ClipTokens(boxes, ("boxes_TxKx7", "present_TxK", "class_K"), encode_boxes, True),
    "lines": ClipTokens(
      lines, ("elements_TxMxPx2", "element_class_TxM", "element_mask_TxM"), encode_lines, True
    ),
    "actions": ClipTokens(
      actions, ("ego_TxS",), lambda one: actions.encode(one["ego_TxS"][:, _CONTROLS]), True
    ),
  }
  if clip.lidar:
    pillars = Voxels(
      (-clip.rear_m, -side / 2, _LOW_M),
      (clip.cell_m, clip.cell_m, _HIGH_M - _LOW_M),
      (clip.grid, clip.grid, 1),
      clip.points,
    )
    found["pillars"] = ClipTokens(
      pillars,
      ("points_TxPx4", "echo_TxP"),
      lambda one: pillars.encode(one["points_TxPx4"], one["echo_TxP"]),
      True,
    )
  if clip.cameras:
    for name, frames in (("images", 1), ("video", _TUBELET)):
      if clip.steps % frames == clip.image_height % _PATCH == clip.image_width % _PATCH == 0:
        found[name] = _cameras(Patches(clip.image_height, clip.image_width, 3, _PATCH, frames))
  return found


def of_cells(tokeniser: Tokeniser) -> ClipTokens:
  """The cells of a clip's bird's-eye views, raw or by a network (data/learned_tokens.py)."""
  return ClipTokens(tokeniser, ("cells_TxHxW",), lambda one: tokeniser.encode(one["cells_TxHxW"]), False)


def _cameras(patches: Patches) -> ClipTokens:
  name = "images_TxCxHxWx3"
  return ClipTokens(patches, (name,), lambda one: patches.encode(one[name].swapaxes(0, 1)), False)
