"""How sharply the table settles the law: clouds of bootstrap draws, and profiles of the likelihood."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scaling.analysis import Analysis
from scaling.figures import axes
from scaling.figures.theme import BLUE, INK, ORANGE, PAGE, SOFT, STYLE, WIDTH
from scaling.fitting import parametric, profile

MOST = 2000  # draws that are dotted
SYMBOLS = {"alpha": r"\alpha", "beta": r"\beta", "a": "a", "E": "E", "A": "A", "B": "B"}
NAMES = {
  "alpha": r"exponent of size, $\alpha$", "beta": r"exponent of data, $\beta$",
  "a": r"allocation exponent $a$ in $N^*\propto C^a$", "E": "irreducible loss $E$ (nats per token)",
}  # fmt: skip


def draw(found: Analysis) -> Figure | None:
  """Draws of (alpha, beta) and of (a, E) around the fit; None without draws or where the law is not settled."""
  if found.law.draws is None or not found.settled:
    return None
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _cloud(left, found, "alpha", "beta", "a  The two exponents")
    _cloud(right, found, "a", "E", "b  Allocation and floor")
    handles, words = left.get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper left", ncols=3, handlelength=1.2)
    return figure


def _cloud(ax: Axes, found: Analysis, across: str, up: str, title: str) -> None:
  x, y = (np.asarray(getattr(found.law.draws, name))[:MOST] for name in (across, up))
  at = float(getattr(found.law.law, across)), float(getattr(found.law.law, up))
  ax.plot(
    x,
    y,
    "o",
    ms=2.2,
    mew=0,
    color=BLUE,
    alpha=0.35,
    zorder=1,
    label=f"the law of a resample ({len(x)} drawn)",
  )
  frame = []
  for values, point in zip((x, y), at, strict=True):
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [0.005, 0.995]) if len(finite) else (point, point)
    room = 0.12 * max(high - low, 1e-3 * abs(point))
    frame.append((min(low, point) - room, max(high, point) + room))
  ax.set_xlim(frame[0])
  ax.set_ylim(frame[1])
  (left, right), (low, high) = frame
  for name, draw_line in ((across, "h"), (up, "v")):
    ends = found.resampling.interval(
      np.asarray(getattr(found.law.draws, name)), float(getattr(found.law.law, name))
    )
    if ends is None:
      continue
    if draw_line == "h":
      ax.plot(ends, [low + 0.02 * (high - low)] * 2, color=INK, lw=2.2, solid_capstyle="butt", zorder=3)
    else:
      ax.plot([left + 0.02 * (right - left)] * 2, ends, color=INK, lw=2.2, solid_capstyle="butt", zorder=3)
  ax.plot([], [], color=INK, lw=2.2, label="95% interval, corrected")
  ax.plot(*at, "D", ms=6, mfc=PAGE, mec=ORANGE, mew=1.5, zorder=5, label="the fit")
  ax.set_xlabel(NAMES[across])
  ax.set_ylabel(NAMES[up])
  beyond = axes.mark_beyond(ax, x, y, [BLUE] * len(x))
  if beyond:
    axes.note(ax, f"{beyond} beyond the frame, marked on it", 0.98, 0.96, ha="right", va="top")
  ax.set_title(title)
  for axis in (ax.xaxis, ax.yaxis):
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], min_n_ticks=axes.LEAST_TICKS))


def draw_likelihood(found: Analysis) -> Figure | None:
  """Profile likelihoods of alpha, beta, a and E; None where nothing is settled."""
  names = [name for name in NAMES if name in found.profiles]
  if not names:
    return None
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    for ax, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
      interval, best = found.profiles[name], float(getattr(found.law.law, name))
      order = np.argsort(np.append(interval.values, best), kind="stable")
      values, root = np.append(interval.values, best)[order], np.sqrt(np.append(interval.ratios, 0.0))[order]
      limit = profile.quantile(0.95, len(found.fitted) - parametric.PARAMETERS)
      ax.axhline(limit, color=SOFT, lw=0.7, ls="--")
      shown = root <= 4
      ax.plot(values[shown], root[shown], color=BLUE, zorder=2)
      ax.plot(best, 0, "D", ms=5, mfc=PAGE, mec=ORANGE, mew=1.3, zorder=4, clip_on=False)
      for end in (interval.low, interval.high):
        if end is not None:
          ax.plot([end, end], [0, limit], color=INK, lw=0.9, zorder=1)
      ax.set_xlabel(f"${SYMBOLS[name]}$")
      ax.set_ylim(0, 4)
      ax.set_yticks(range(5))
      ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=axes.LEAST_TICKS))
      sides = [side for side, end in (("below", interval.low), ("above", interval.high)) if end is None]
      if sides:
        axes.note(ax, f"open {' and '.join(sides)}", 0.5, 0.9, ha="center", color=ORANGE)
    figure.axes[0].set_ylabel("root of the likelihood ratio")
    axes.note(figure.axes[0], "95%", 0.03, limit / 4 + 0.02)
    return figure
