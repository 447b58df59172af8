"""The fitted loss surface over model size and data, with the runs, the budgets and the efficient frontier."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.analysis import Analysis
from scaling.figures import axes
from scaling.figures.frontier import reach
from scaling.figures.theme import INK, ORANGE, PAGE, SOFT, STYLE, WIDTH, budget_colours
from scaling.fitting import optima
from scaling.laws.hoffmann import Law

CELLS = 120
LEVELS = 9


def draw(found: Analysis) -> Figure:
  """Contours of the parametric law over ln N and ln D, runs by budget, lines of constant C, the frontier N*(C), D*(C).

  Runs only, with a note, where the table does not settle the law.
  """
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    ax = figure.subplots()
    runs, law = found.fitted, found.law.law
    every = [(runs.params, runs.tokens), (found.held_out.params, found.held_out.tokens)]
    if found.forecast is not None:
      every.append((np.array([found.forecast["params"]]), np.array([found.forecast["tokens"]])))
    (left, right), (low, high) = (_ends(np.concatenate([v[k] for v in every])) for k in (0, 1))
    axes.count_axis(ax.xaxis, f"parameters $N$ ({runs.convention.replace('_', '-')})")
    axes.count_axis(ax.yaxis, "tokens $D$")
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    params, tokens = np.geomspace(left, right, CELLS), np.geomspace(low, high, CELLS)

    means = np.array([p.flops for p in found.iso.profiles])
    known = {float(c): colour for c, colour in zip(means, budget_colours(means), strict=True)}
    drawn = known if len(known) <= axes.MANY else {c: SOFT for c in axes.log_ticks(means.min(), means.max())}
    per_nd = optima.flops_per_nd(runs, params)
    for flops, colour in drawn.items():
      data = flops / (per_nd * params)
      ax.plot(params, data, "-", color=colour, lw=0.8, alpha=0.8, zorder=1)
      inside = np.flatnonzero((data < high * 0.97) & (data > low * 1.03))
      if len(inside) > CELLS // 12:
        _label_line(ax, params, data, inside[-1] if data[-1] > low else inside[-3], flops)

    for profile in found.iso.profiles:
      ax.plot(
        profile.runs.params,
        profile.runs.tokens,
        "o",
        color=known[float(profile.flops)],
        mec=PAGE,
        mew=0.5,
        zorder=4,
      )
    if found.settled:
      loss = law.loss(params[None, :], tokens[:, None])
      # Levels evenly spaced in ln (L - E): where the surface is flat they would crowd otherwise.
      most, least = (float(np.log(np.quantile(loss, q) - law.E)) for q in (0.97, 0.02))
      levels = np.unique([float(f"{v:.3g}") for v in float(law.E) + np.exp(np.linspace(least, most, LEVELS))])
      ax.contour(
        params, tokens, loss, levels=levels, colors=[SOFT], linewidths=0.7, linestyles="--", zorder=2
      )
      _label_levels(ax, law, levels, right, (low, high))
      across = np.geomspace(means.min() / 3, reach(found) * 3, 40)
      best = np.array([[v[0] for v in optima.parametric(law, runs, c)[:2]] for c in across]).T
      ax.plot(*best, color=INK, lw=1.6, zorder=3, label="least loss for its compute, $N^*(C)$, $D^*(C)$")
      ax.plot([], [], "--", color=SOFT, lw=0.7, label="equal loss (nats per token)")
    else:
      axes.note(ax, "no contours: the runs do not settle the law")
    ax.plot([], [], "-", color=known[float(means[-1])], lw=0.8, label="equal compute $C$ (FLOPs)")
    ax.plot([], [], "o", color=known[float(means[-1])], mec=PAGE, mew=0.5, label="a fitted run, by budget")
    if len(found.held_out):
      ax.plot(
        found.held_out.params,
        found.held_out.tokens,
        "o",
        ms=6,
        color=ORANGE,
        mec=PAGE,
        mew=0.6,
        zorder=6,
        label="held out",
      )
    elif found.forecast is not None:
      ax.plot(
        found.forecast["params"],
        found.forecast["tokens"],
        "D",
        ms=5,
        mfc=PAGE,
        mec=ORANGE,
        mew=1.3,
        zorder=6,
        label="predicted run",
      )
    if len(known) > axes.MANY:
      axes.budget_scale(ax, means.min(), means.max())
    figure.legend(loc="outside upper left", ncols=3, handlelength=1.8, columnspacing=1.6)
    return figure


def _ends(values: np.ndarray) -> tuple[float, float]:
  """A frame around all of `values`, a tenth wider on either side, in ln."""
  low, high = np.log(values.min()), np.log(values.max())
  room = max(0.1 * (high - low), 0.15)
  return float(np.exp(low - room)), float(np.exp(high + room))


def _label_line(ax: Axes, params: np.ndarray, data: np.ndarray, k: int, flops: float) -> None:
  """The compute of a line, on it, near its end."""
  ax.annotate(
    axes.power_of_ten(flops), (params[k], data[k]), (-3, 0), textcoords="offset points", ha="right", va="center",
    fontsize=6.8, bbox={"fc": PAGE, "ec": "none", "pad": 0.8}, zorder=3.5,
  )  # fmt: skip


def _label_levels(ax: Axes, law: Law, levels: np.ndarray, right: float, ends: tuple[float, float]) -> None:
  """The loss of each contour where it leaves the frame: to the right, at the top, or near the left."""
  left = ax.get_xlim()[0]
  for level in levels:
    rest = level - float(law.E) - float(law.A) / right ** float(law.alpha)
    data = (float(law.B) / rest) ** (1 / float(law.beta)) if rest > 0 else np.inf
    if ends[0] * 1.1 < data < ends[1] / 1.04:
      ax.annotate(
        f"{level:.3g}", (right, data), (4, 0), textcoords="offset points", va="center", fontsize=6.8
      )
      continue
    rest = level - float(law.E) - float(law.B) / ends[1] ** float(law.beta)
    size = (float(law.A) / rest) ** (1 / float(law.alpha)) if rest > 0 else np.inf
    if left * 1.03 < size < right:
      ax.annotate(
        f"{level:.3g}", (size, ends[1]), (0, 2), textcoords="offset points", ha="center", fontsize=6.8
      )
      continue
    inner = left * (right / left) ** 0.05
    rest = level - float(law.E) - float(law.A) / inner ** float(law.alpha)
    data = (float(law.B) / rest) ** (1 / float(law.beta)) if rest > 0 else np.inf
    if ends[0] * 1.2 < data < ends[1]:
      how: Any = {
        "ha": "center",
        "va": "center",
        "bbox": {"fc": PAGE, "ec": "none", "pad": 0.8},
        "zorder": 3.5,
      }
      ax.annotate(f"{level:.3g}", (inner, data), fontsize=6.8, **how)
