"""One or two metrics over compute side by side, the panels of each slice together: runs, law and verdict."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures import axes
from scaling.figures.theme import BLUE, ORANGE, PAGE, STYLE, WIDTH
from scaling.metric_table import Entry

PAIRS = 2  # slices in a row
HEIGHT = 1.55  # inches of a row


def draw(flops: np.ndarray, found: Sequence[Entry], metrics: Sequence[str]) -> Figure:
  """Points are runs, the line is the law with its 95 % band; the last decade of compute is shaded."""
  slices = list(dict.fromkeys(e.slice for e in found))
  rows = -(-len(slices) // PAIRS)
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, HEIGHT * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, len(metrics) * PAIRS, squeeze=False)
    for place, slice_ in enumerate(slices):
      for side, (metric, colour) in enumerate(zip(metrics, (BLUE, ORANGE), strict=False)):
        ax = grid[place // PAIRS, len(metrics) * (place % PAIRS) + side]
        own = [e for e in found if (e.metric, e.slice) == (metric, slice_)]
        if own:
          _panel(ax, flops, own[0], colour)
        else:
          ax.set_axis_off()
    for ax in grid.flat[len(metrics) * len(slices) :]:
      ax.set_axis_off()
    for ax in grid[-1]:
      ax.set_xlabel("compute $C$ (FLOPs)")
    return figure


def _panel(ax: Axes, flops: np.ndarray, entry: Entry, colour: str) -> None:
  at = np.geomspace(flops.min(), flops.max(), 40)
  laws = entry.laws
  drawn = np.asarray(laws.E)[:, None] + np.asarray(laws.A)[:, None] * np.exp(
    -np.asarray(laws.alpha)[:, None] * (np.log(at) - laws.middle)[None]
  )
  ax.fill_between(at, *np.quantile(drawn, [0.025, 0.975], axis=0), color=colour, alpha=0.18, lw=0)
  ax.plot(at, entry.law.value(at), color=colour, zorder=2)
  ax.plot(flops, entry.draws.values[0], "o", ms=2.6, mfc=colour, mec=PAGE, mew=0.3, zorder=3)
  ax.axvspan(flops.max() / 10, flops.max(), color=colour, alpha=0.06, lw=0)
  axes.compute_axis(ax.xaxis, "")
  low, high = min(entry.draws.values[0].min(), drawn.min()), entry.draws.values[0].max()
  ax.set_ylim(max(low - 0.08 * (high - low), 0 if low >= 0 else low), high + 0.3 * (high - low))
  ax.set_title(f"{entry.slice}: {entry.metric}", fontsize=7)
  axes.note(ax, entry.found.verdict, 0.97, 0.9, ha="right")
