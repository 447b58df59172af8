"""Axes that can be read: ticks of logarithmic scales, numbers with units' prefixes, labels that do not collide."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter

from scaling.figures.theme import RAMP, SOFT

LEAST_TICKS, MOST_TICKS = 3, 8
DIGITS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
PREFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
WIDE = 4.0  # ratio of losses from which on their ticks are those of a logarithmic scale
MANY = 12  # budgets, from which on a scale takes the place of labels


def log_ticks(low: float, high: float) -> list[float]:
  """Round values in [low, high], three or more: decades if there are enough, else 1 and 3, 1 2 5, ever finer."""
  first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
  for digits in DIGITS:
    values = [d * 10.0**k for k in range(first, last + 1) for d in digits]
    inside = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    if len(inside) >= LEAST_TICKS:
      return inside[:: math.ceil(len(inside) / MOST_TICKS)]
  fine = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
  return [float(v) for v in fine if low <= v <= high]


class LogTicks(Locator):
  """`log_ticks` of whatever the axis shows."""

  def __call__(self):
    assert self.axis is not None
    return self.tick_values(*self.axis.get_view_interval())

  def tick_values(self, vmin, vmax):
    low, high = sorted((vmin, vmax))
    return log_ticks(low, high) if low > 0 else []


class LossTicks(LogTicks):
  """Evenly spaced values, as losses mostly span a fraction of a decade; `log_ticks` where they span more."""

  def tick_values(self, vmin, vmax):
    low, high = sorted((vmin, vmax))
    if not 0 < high <= WIDE * low:
      return super().tick_values(vmin, vmax)
    return MaxNLocator(7, steps=[1, 2, 2.5, 5, 10], min_n_ticks=LEAST_TICKS).tick_values(low, high)


def power_of_ten(value: float) -> str:
  """4.03e11 -> $4\\times10^{11}$ as mathtext: one decimal unless it is nought, no mantissa of one."""
  exponent = int(np.floor(np.log10(value) + 1e-12))
  mantissa = f"{value / 10**exponent:.1f}".removesuffix(".0")
  if mantissa == "10":
    mantissa, exponent = "1", exponent + 1
  return rf"$10^{{{exponent}}}$" if mantissa == "1" else rf"${mantissa}\times10^{{{exponent}}}$"


def short(value: float) -> str:
  """37024 -> 37k, as models and data are spoken of."""
  for size, prefix in PREFIXES:
    if value >= size * (1 - 1e-9):
      return f"{value / size:.3g}{prefix}"
  return f"{value:.3g}"


def compute_axis(axis: Axis, label: str = "training compute $C$ (FLOPs)") -> None:
  _log(axis, label, lambda value, _: power_of_ten(value))


def count_axis(axis: Axis, label: str) -> None:
  _log(axis, label, lambda value, _: short(value))


def loss_axis(axis: Axis, label: str = "held-out loss (nats per token)") -> None:
  """Loss spans a fraction of a decade: a logarithmic scale with plain numbers on it."""
  _log(axis, label, lambda value, _: f"{value:.3g}")
  axis.set_major_locator(LossTicks())
  axis.set_minor_locator(LogLocator(10, subs=[]))


def nats_axis(axis: Axis, label: str) -> None:
  """Differences of losses, over decades."""
  _log(axis, label, lambda value, _: f"{value:.3g}")


def _log(axis: Axis, label: str, text) -> None:
  (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
  axis.set_major_locator(LogTicks())
  axis.set_major_formatter(FuncFormatter(text))
  axis.set_minor_locator(LogLocator(10, subs=range(2, 10), numticks=99))
  axis.set_minor_formatter(NullFormatter())
  axis.set_label_text(label)


def spread(values: Sequence[float], gap: float) -> np.ndarray:
  """Positions nearest to `values` (least squares) that keep their order and lie `gap` apart or more."""
  order = np.argsort(values, kind="stable")
  blocks: list[list[float]] = []  # of (mean, count), ascending: pool adjacent violators
  for rank, k in enumerate(order):
    blocks.append([values[k] - gap * rank, 1])
    while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
      mean, count = blocks.pop()
      blocks[-1] = [
        (blocks[-1][0] * blocks[-1][1] + mean * count) / (blocks[-1][1] + count),
        blocks[-1][1] + count,
      ]
  flat = np.concatenate([np.full(int(count), mean) for mean, count in blocks])
  made = np.empty(len(flat))
  made[order] = flat + gap * np.arange(len(flat))
  return made


def label_ends(ax: Axes, ends: Sequence[tuple[float, float]], texts: Sequence[str], size: float = 7) -> None:
  """A label to the right of each (x, y), moved up or down where two would touch; call it with the limits settled.

  For figures of one row on a logarithmic y.
  """
  low, high = np.log(ax.get_ylim())
  height = ax.figure.bbox.height / ax.figure.dpi * 0.72 * 72  # of the axes in points, nearly
  at = (np.log([y for _, y in ends]) - low) / (high - low) * height
  for end, lift, text in zip(ends, spread(at.tolist(), 1.3 * size) - at, texts, strict=True):
    ax.annotate(
      text, end, (7, lift), textcoords="offset points", va="center", fontsize=size, annotation_clip=False
    )


def mark_beyond(ax: Axes, xs: np.ndarray, ys: np.ndarray, colours: Sequence[str]) -> int:
  """A triangle on the frame for every point outside, pointing at it, and how many there are in words."""
  (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
  outside = (xs < left) | (xs > right) | (ys < low) | (ys > high)
  for k in np.flatnonzero(outside).tolist():
    x, y = np.clip(xs[k], left, right), np.clip(ys[k], low, high)
    marker = "^" if ys[k] > high else "v" if ys[k] < low else ">" if xs[k] > right else "<"
    ax.plot(x, y, marker, color=colours[k], ms=3.6, mew=0, clip_on=False, zorder=8)
  return int(outside.sum())


def note(ax: Axes, text: str, x: float = 0.02, y: float = 0.03, **how) -> None:
  """Small print inside the axes, in their own coordinates."""
  ax.annotate(text, (x, y), xycoords="axes fraction", fontsize=6.8, **({"color": SOFT} | how))


def budget_scale(ax: Axes, low: float, high: float) -> None:
  """A strip along the top right that says which colour is which compute, for tables of many budgets."""
  ax.set_title(ax.get_title(loc="left"), y=1.03)  # beside the strip, not above it
  strip = ax.inset_axes((0.56, 1.035, 0.4, 0.025))
  edges = np.geomspace(low, high, len(RAMP) + 1)
  for left, right, colour in zip(edges, edges[1:], RAMP, strict=False):
    strip.axvspan(left, right, color=colour, lw=0.3)
  strip.set_xlim(low, high)
  strip.set_yticks([])
  compute_axis(strip.xaxis, "")
  strip.set_xticks([low, high], [power_of_ten(low), f"{power_of_ten(high)} FLOPs"], fontsize=6.5)
  strip.tick_params(length=0, pad=2)
  strip.xaxis.set_minor_locator(LogLocator(10, subs=[]))
  strip.xaxis.set_ticks_position("top")
  strip.spines[:].set_visible(False)
