"""How near a bird's-eye view is to another: cells of the same class, and the overlap of each class.

  accuracy = share of cells with the right class,   IoU(c) = |P_c and T_c| / |P_c or T_c|

over all cells of all frames together, so that a class that is rare in a frame is not scored by that frame alone.
"""

import numpy as np

from data.clips import CELL_CLASSES, FIRST_BOX_CLASS


def cell_pairs(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
  """How many cells of two arrays [..., H, W] are of each class, and are predicted as each: int [truth, predicted]."""
  count = len(CELL_CLASSES)
  pairs = np.bincount(truth.ravel().astype(int) * count + predicted.ravel(), minlength=count**2)
  return pairs.reshape(count, count)


def cell_scores(table: np.ndarray) -> dict[str, object]:
  """Of such counts, added up: {"accuracy", "mean_iou", "agents_iou", "iou": {class: ...}}.

  "mean_iou" is over the classes that the truth shows, "agents_iou" of all agents as one class. None: neither shows it.
  """
  both, either = table.diagonal(), table.sum(0) + table.sum(1) - table.diagonal()
  iou = [float(both[i] / either[i]) if either[i] else None for i in range(len(table))]
  shown = table.sum(1) > 0
  agents = table[FIRST_BOX_CLASS:, FIRST_BOX_CLASS:].sum()
  any_agent = table[FIRST_BOX_CLASS:].sum() + table[:, FIRST_BOX_CLASS:].sum() - agents
  return {
    "accuracy": float(both.sum() / table.sum()),
    "mean_iou": float((both[shown] / either[shown]).mean()),
    "agents_iou": float(agents / any_agent) if any_agent else None,
    "iou": dict(zip(CELL_CLASSES, iou, strict=True)),
  }
