"""Approach 1: training curves over compute, and their lower envelope."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from scaling.analysis import Analysis
from scaling.figures import axes
from scaling.figures.frontier import band
from scaling.figures.theme import INK, ORANGE, SOFT, STYLE, WIDTH
from scaling.fitting import envelope

POINTS = 60  # of a drawn curve


def draw(found: Analysis) -> Figure | None:
  """Left: training loss over C of every run, with the points of least loss. Right: the size that wins, and its line."""
  upper = found.envelope
  if upper is None:
    return None
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for curve in found.curves:
      tokens = np.geomspace(curve.tokens[0], curve.tokens[-1], POINTS)
      loss = envelope.smooth(curve.tokens, curve.loss, tokens, envelope.WIDTH)
      left.plot(curve.flops_per_token * tokens, loss, color=SOFT, lw=0.6, alpha=0.45, zorder=1)
    left.plot([], [], color=SOFT, lw=0.8, label=f"training curve of a run, smoothed ({len(found.curves)})")
    left.plot(upper.flops, upper.loss, ".", color=ORANGE, ms=2.5, mew=0, zorder=3)
    left.plot([], [], ".", color=ORANGE, ms=6, label="least loss at its compute, inner sizes")
    axes.compute_axis(left.xaxis)
    axes.loss_axis(left.yaxis, "training loss (nats per token)")
    left.set_title("a  Training curves")
    low, high = left.get_ylim()
    left.set_ylim(low, high * (high / low) ** 0.15)  # room for the legend
    left.legend(loc="upper right", borderaxespad=0.1)
    right.plot(upper.flops, upper.params, ".", color=ORANGE, ms=3, mew=0, zorder=3)
    right.plot([], [], ".", color=ORANGE, ms=6, label="size of least loss")
    if upper.size is not None and len(upper.flops):
      across = np.geomspace(upper.flops[0], upper.flops[-1], 30)
      band(right, across, upper.size, INK, label=rf"$N^*\propto C^{{\,{upper.size.exponent:.2f}}}$")
    axes.compute_axis(right.xaxis)
    axes.count_axis(right.yaxis, "parameters $N^*$")
    right.set_title("b  Size of least loss")
    right.legend(loc="upper left", borderaxespad=0.1)
    return figure
