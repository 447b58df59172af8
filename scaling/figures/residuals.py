"""What the parametric law leaves over, run by run."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from scaling.analysis import Analysis
from scaling.figures import axes
from scaling.figures.theme import PAGE, SOFT, STYLE, WIDTH, budget_colours


def draw(found: Analysis) -> Figure:
  """Measured over fitted loss minus one, in percent, over N, D and C; the band is one standard deviation."""
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    runs, percent = found.fitted, 100 * np.expm1(found.law.residuals)
    means = np.array([p.flops for p in found.iso.profiles])
    nearest = np.abs(np.log(runs.flops)[:, None] - np.log(means)).argmin(1)
    spread = float(np.sqrt(np.mean(np.square(percent))))
    names = ("a  over size", "b  over data", "c  over compute")
    for ax, values, title in zip(panels, (runs.params, runs.tokens, runs.flops), names, strict=True):
      ax.axhspan(-spread, spread, color=SOFT, alpha=0.12, lw=0)
      ax.axhline(0, color=SOFT, lw=0.7)
      for k, colour in enumerate(budget_colours(means)):
        ax.plot(values[nearest == k], percent[nearest == k], "o", color=colour, mec=PAGE, mew=0.4)
      ax.set_title(title)
    axes.count_axis(panels[0].xaxis, "parameters $N$")
    axes.count_axis(panels[1].xaxis, "tokens $D$")
    axes.compute_axis(panels[2].xaxis, "compute $C$ (FLOPs)")
    panels[0].set_ylabel("measured above fitted loss (%)")
    panels[2].set_title(f"rms {spread:.2g}%", loc="right", fontsize=7.5, fontweight="normal")
    return figure
