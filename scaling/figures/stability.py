"""What becomes of the law without each budget, and as the range of fitted budgets grows or shrinks."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from scaling.analysis import Analysis
from scaling.figures import axes
from scaling.figures.theme import BLUE, INK, PAGE, PINK, SOFT, STYLE, WIDTH

ESTIMATORS = {
  "parametric": ("parametric law", INK, "o"),
  "power": ("power law", BLUE, "s"),
  "floored": ("power law above $E$", PINK, "^"),
}
EXPONENTS = {"approach2_a": ("IsoFLOP minima", BLUE, "s"), "approach3_a": ("parametric law", INK, "o")}


def draw_left_out(found: Analysis) -> Figure | None:
  """Error of each estimator at each budget that was left out, in percent; None when nothing could be left out."""
  if not any(left.errors for left in found.left_out):
    return None
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    ax = figure.subplots()
    ax.axhline(0, color=SOFT, lw=0.7)
    present = [name for name in ESTIMATORS if any(name in left.errors for left in found.left_out)]
    for rank, name in enumerate(present):
      words, colour, marker = ESTIMATORS[name]
      points = [(left.flops, left.errors[name]) for left in found.left_out if name in left.errors]
      # Side by side, so that equal errors do not hide each other.
      xs = [x * 1.07 ** (rank - (len(present) - 1) / 2) for x, _ in points]
      ax.vlines(xs, 0, [y for _, y in points], color=colour, lw=1.0)
      ax.plot(xs, [y for _, y in points], marker, color=colour, mec=PAGE, mew=0.4, ms=5, label=words)
    edges = found.left_out[0].flops, found.left_out[-1].flops
    ax.set_xlim(edges[0] / 1.8, edges[1] * 1.8)
    axes.compute_axis(ax.xaxis, "compute $C$ of the budget that was left out (FLOPs)")
    ax.set_ylabel("error of the predicted loss (%)")
    figure.legend(loc="outside upper left", ncols=3, handletextpad=0.3)
    return figure


def draw_drift(found: Analysis) -> Figure | None:
  """The allocation exponent a of fits to the first k budgets and to the last k; None with too few budgets."""
  first = [w for w in found.drift if w.flops[0] == min(v.flops[0] for v in found.drift)]
  last = [w for w in found.drift if w.flops[1] == max(v.flops[1] for v in found.drift)]
  if not any(set(EXPONENTS) & set(w.values) for w in found.drift):
    return None
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    sides = (
      (first, 1, "a  The smallest budgets, up to", "largest budget of the fit, $C$ (FLOPs)"),
      (last, 0, "b  The largest budgets, from", "smallest budget of the fit, $C$ (FLOPs)"),
    )
    for ax, (windows, edge, title, label) in zip(panels, sides, strict=True):
      for name, (words, colour, marker) in EXPONENTS.items():
        points = sorted((w.flops[edge], w.values[name]) for w in windows if name in w.values)
        if points:
          ax.plot(
            *zip(*points, strict=True), "-", marker=marker, color=colour, mec=PAGE, mew=0.5, ms=5, label=words
          )
      whole = [w for w in windows if w in first and w in last]
      for name in EXPONENTS:
        for window in whole:
          if name in window.values:
            ax.plot(window.flops[edge], window.values[name], "o", ms=9, mfc="none", mec=SOFT, mew=0.8)
      ends = sorted(w.flops[edge] for w in windows)
      ax.set_xlim(ends[0] / 1.6, ends[-1] * 1.6)
      axes.compute_axis(ax.xaxis, label)
      ax.set_title(title)
    low, high = panels[0].get_ylim()
    middle, half = (low + high) / 2, max(high - low, 0.1) / 2 * 1.1
    panels[0].set_ylim(middle - half, middle + half)
    panels[0].set_ylabel(r"allocation exponent $a$")
    panels[0].plot([], [], "o", ms=9, mfc="none", mec=SOFT, mew=0.8, label="the whole table")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, handlelength=1.8)
    return figure


def exponents(found: Analysis) -> np.ndarray:
  """All exponents of `draw_drift`."""
  return np.array([w.values[name] for w in found.drift for name in EXPONENTS if name in w.values])
