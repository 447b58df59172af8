"""How cells of a bird's-eye view are drawn: a colour for each class, forward is up, left is left."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from data.clips import CELL_CLASSES

COLOURS = np.array([
  (0.80, 0.86, 0.72), (0.55, 0.55, 0.57), (0.98, 0.98, 0.98), (0.93, 0.85, 0.55), (0.76, 0.70, 0.64),
  (0.72, 0.45, 0.40), (0.50, 0.40, 0.35), (0.12, 0.35, 0.75), (0.35, 0.15, 0.60), (0.10, 0.65, 0.60),
  (0.85, 0.15, 0.15),
])  # fmt: skip
_TILE, _GAP, _HEAD, _FOOT, _LEFT = 0.82, 0.12, 0.32, 0.3, 0.72  # inches
_TEXT = 7.0


def from_above(cells_HxW: np.ndarray) -> np.ndarray:
  """An image [H, W, 3] of cells whose rows run forward and whose columns run left."""
  return COLOURS[cells_HxW[::-1, ::-1]]


def sheet(rows: Sequence[tuple[str, np.ndarray]], titles: Sequence[str], heads: Sequence[str]) -> Figure:
  """Windows side by side, each a block of frames.

  Args: rows: name and cells [windows, frames, H, W]. titles: of the windows. heads: of a window's frames.
  """
  windows, frames = rows[0][1].shape[:2]
  with mpl.rc_context({"font.size": _TEXT}):
    width = _LEFT + windows * (frames * _TILE + _GAP)
    figure = Figure(figsize=(width, _HEAD + len(rows) * _TILE + _FOOT))
    left, top = _LEFT / width, 1 - _HEAD / figure.get_figheight()
    w, h = _TILE / width, _TILE / figure.get_figheight()
    for i, (name, cells) in enumerate(rows):
      for j in range(windows):
        for t in range(frames):
          x = left + j * (frames * w + _GAP / width) + t * w
          axes = figure.add_axes((x, top - (i + 1) * h, 0.96 * w, 0.96 * h))
          axes.imshow(from_above(cells[j, t]), interpolation="nearest")
          axes.set_xticks([])
          axes.set_yticks([])
          axes.spines[:].set_visible(False)
          if not i:
            axes.set_title(heads[t], fontsize=_TEXT, pad=2)
          if not (i or t):
            figure.text(x, 1 - 0.04 / figure.get_figheight(), titles[j], va="top", weight="bold")
          if not (j or t):
            axes.set_ylabel(name, fontsize=_TEXT)
    shown = np.unique(np.concatenate([cells.ravel() for _, cells in rows]))
    marks = [Patch(facecolor=COLOURS[k], edgecolor="0.6", linewidth=0.4, label=CELL_CLASSES[k].replace("_", " "))
             for k in shown]  # fmt: skip
    figure.legend(handles=marks, loc="lower center", ncols=len(marks), frameon=False, fontsize=_TEXT,
                  handlelength=1.0, columnspacing=1.2)  # fmt: skip
  return figure
