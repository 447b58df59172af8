"""Compute-optimal size N* and data D* over compute, by every approach."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.analysis import Analysis
from scaling.figures import axes
from scaling.figures.frontier import band, reach
from scaling.figures.theme import BLUE, INK, ORANGE, PAGE, SOFT, STYLE, WIDTH, budget_colours
from scaling.fitting import bootstrap, optima

PANELS = (
  ("a  Optimal size", "parameters $N^*$", "params", "size", 0, "N^*"),
  ("b  Optimal data", "tokens $D^*$", "tokens", "data", 1, "D^*"),
)


def draw(found: Analysis) -> Figure:
  """N*(C) and D*(C): minima with intervals, the line through them and its 95% band, the parametric law's, the
  training curves' where there are any."""
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    for k, ax in enumerate(figure.subplots(1, 2)):
      _draw(ax, found, *PANELS[k])
    return figure


def _draw(
  ax: Axes, found: Analysis, title: str, label: str, name: str, curve: str, row: int, symbol: str
) -> None:
  iso = found.iso
  shades = budget_colours(np.array([p.flops for p in iso.profiles]))
  for profile, colour in zip(iso.profiles, shades, strict=True):
    if profile.edge:
      continue
    interval = bootstrap.interval(np.exp(profile.draws[row]))
    if interval is not None:
      ax.plot([profile.flops] * 2, interval, color=colour, lw=1.3, zorder=3)
    ax.plot(profile.flops, getattr(profile, name), "D", ms=5, mfc=PAGE, mec=colour, mew=1.3, zorder=4)
  flops = np.geomspace(iso.profiles[0].flops / 1.5, reach(found) * 1.5, 50)
  law = getattr(iso, name)
  if law is not None:
    band(ax, flops, law, SOFT, label=f"IsoFLOP minima, {_power(symbol, law.exponent)}")
  if found.settled:
    values = [float(optima.parametric(found.law.law, found.fitted, c)[row][0]) for c in flops]
    own = found.law.law.a if row == 0 else found.law.law.b
    ax.plot(flops, values, color=INK, lw=1.0, zorder=2, label=f"parametric law, {_power(symbol, float(own))}")
  upper = None if found.envelope is None else getattr(found.envelope, curve)
  if upper is not None and found.envelope is not None:
    across = np.geomspace(found.envelope.flops[0], found.envelope.flops[-1], 30)
    name_ = f"training curves, {_power(symbol, upper.exponent)}"
    band(ax, across, upper, BLUE, ls=":", lw=1.4, label=name_)
  if found.forecast is not None:
    ax.plot(
      found.forecast["flops"], found.forecast[name], "D", ms=4.6, color=ORANGE, mec=PAGE, mew=0.5, zorder=6,
      label="predicted run",
    )  # fmt: skip
  axes.compute_axis(ax.xaxis)
  axes.count_axis(ax.yaxis, label)
  ax.set_title(title)
  if ax.get_legend_handles_labels()[0]:
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.12)
    ax.legend(loc="upper left", handlelength=1.7, borderaxespad=0.1, labelspacing=0.3)


def _power(symbol: str, exponent: float) -> str:
  return rf"${symbol}\propto C^{{\,{exponent:.2f}}}$"
