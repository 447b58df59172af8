"""A bird's-eye view copied to a later pose of the ego: what a world that stands still would show from there."""

import numpy as np

from data.clips import ClipConfig
from data.world import to_ego, to_scene


def moved_copy(
  cells_HxW: np.ndarray, before: np.ndarray, after: np.ndarray, config: ClipConfig
) -> np.ndarray:
  """Cells [H, W] as seen from the pose `after`, of what was seen from `before` (x, y, yaw in the scene, m and rad).

  Each cell takes the class of the cell its centre was in; where nothing was seen, that of the nearest one that was.
  """
  centres = config.centres_HxWx2.astype(np.float64)
  earlier = to_ego(to_scene(centres, after.astype(np.float64)), before.astype(np.float64))
  corner = np.array([-config.rear_m, -0.5 * config.grid * config.cell_m])
  place = np.floor((earlier - corner) / config.cell_m).astype(int).clip(0, config.grid - 1)
  return cells_HxW[place[..., 0], place[..., 1]]
