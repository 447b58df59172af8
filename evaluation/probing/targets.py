"""What probes ask of a representation: quantities and classes of a clip's last frame, from its arrays.

Ahead is the quarter of the plane with x > |y|. A target says of each clip whether it can be asked at all.

What a model reads as it stands says little of what it has learned: `inputs` names such targets, and tables mark them
"input". There only the margin over random features of the same model counts.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data import motion
from data.clips import FIRST_BOX_CLASS

_SHOWN = {  # sensor, or family without sensors, to the targets that follow from one step of what it reads
  "ego": ("speed",),
  "raster": ("agents_ahead", "nearest_ahead", "occupancy"),
  "bev_tokeniser": ("agents_ahead", "nearest_ahead", "occupancy"),
  "motion": ("agents",),
}

AHEAD = 6  # moves of an agent that are asked of a window
COARSE = 4  # squares along each side of the grid whose occupancy is asked


@dataclasses.dataclass(frozen=True)
class Target:
  """Attributes:
  values: float64 [N, K] of a quantity, int [N] of a class. known_N: whether it can be asked of a clip.
  names: of the classes; empty for a quantity.
  """

  values: np.ndarray
  known_N: np.ndarray
  names: tuple[str, ...] = ()

  @property
  def is_class(self) -> bool:
    return bool(self.names)


def inputs(family: str, sensors: Sequence[str]) -> tuple[str, ...]:
  """Targets that a model of the family reads, through these sensors, as they stand."""
  return tuple(target for source in (family, *sensors) for target in _SHOWN.get(source, ()))


def clip_targets(clips: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]) -> dict[str, Target]:
  """Targets of stacked clips [N, ...] (data/clips.py).

  Args: names: of the classes of the metadata "domain", "weather", "light" and "rare".
  """
  every = np.ones(len(clips["scene"]), bool)
  x, y = np.moveaxis(clips["boxes_TxKx7"][:, -1, :, :2].astype(np.float64), -1, 0)
  ahead = clips["present_TxK"][:, -1] & (x > np.abs(y))
  nearest = np.where(ahead, np.hypot(x, y), np.inf).min(-1)
  found = {
    "speed": Target(clips["ego_TxS"][:, -1, :1].astype(np.float64), every),
    "displacement": Target(
      clips["future_TxFx2"][:, -1, -1].astype(np.float64), np.asarray(clips["future_mask_TxF"][:, -1, -1])
    ),
    "agents_ahead": Target(ahead.sum(-1, keepdims=True).astype(np.float64), every),
    "nearest_ahead": Target(np.where(np.isfinite(nearest), nearest, 0.0)[:, None], np.isfinite(nearest)),
    "occupancy": Target(_occupancy(clips["cells_TxHxW"][:, -1]), every),
  }
  return found | {name: Target(clips[name].astype(int), every, tuple(names[name])) for name in names}


def window_targets(windows: Mapping[str, np.ndarray], domains: Sequence[str]) -> dict[str, Target]:
  """Targets of stacked windows of motion tokens [N, ...] (data/windows.py), of their first agent halfway.

  "acceleration": its mean over the next AHEAD moves that the window holds, m/s^2; asked where the agent
  makes them all. "agents": those there.
  """
  every = np.ones(len(windows["domain"]), bool)
  half = windows["tokens_TxA"].shape[1] // 2
  next_ = slice(half, half + AHEAD)
  acceleration, _ = motion.split(windows["tokens_TxA"][:, next_, 0].astype(int))
  return {
    "acceleration": Target(
      acceleration.mean(1, keepdims=True, dtype=np.float64),
      np.asarray(windows["mask_TxA"][:, next_, 0].all(1)),
    ),
    "agents": Target(windows["valid_TxA"][:, half].sum(-1, keepdims=True).astype(np.float64), every),
    "domain": Target(windows["domain"].astype(int), every, tuple(domains)),
  }


def code_targets(windows: Mapping[str, np.ndarray], domains: Sequence[str]) -> dict[str, Target]:
  """Targets of stacked windows of codes [N, ...] (data/codes.py), which say nothing else of what they show."""
  return {
    "domain": Target(windows["domain"].astype(int), np.ones(len(windows["domain"]), bool), tuple(domains))
  }


def _occupancy(cells_NxHxW: np.ndarray) -> np.ndarray:
  """float64 [N, COARSE^2]: share of the cells of each square that an agent fills."""
  n, height, width = cells_NxHxW.shape
  filled = (cells_NxHxW >= FIRST_BOX_CLASS).astype(np.float64)
  squares = filled[:, : height // COARSE * COARSE, : width // COARSE * COARSE]
  squares = squares.reshape(n, COARSE, height // COARSE, COARSE, width // COARSE)
  return squares.mean((2, 4)).reshape(n, -1)
