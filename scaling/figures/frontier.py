"""IsoFLOP profiles with their minima, and the least loss over compute."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.analysis import Analysis
from scaling.figures import axes
from scaling.figures.theme import INK, ORANGE, PAGE, SOFT, STYLE, WIDTH, budget_colours
from scaling.fitting import bootstrap, optima
from scaling.fitting.isoflop import PowerLaw, Profile
from scaling.table import Runs

BAND = 0.16  # opacity of a 95% band


def draw(found: Analysis) -> Figure:
  """Left: loss over N at every budget, with curves and minima. Right: the least loss over C, both laws, outcome."""
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 3.35), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _profiles(left, found)
    _least(right, found)
    return figure


def by_size(profile: Profile) -> tuple[np.ndarray, np.ndarray]:
  """Sizes, and the mean loss over the seeds of each."""
  sizes, which = np.unique(profile.runs.params, return_inverse=True)
  return sizes, np.bincount(which, profile.runs.loss) / np.bincount(which)


def band(ax: Axes, flops: np.ndarray, law: PowerLaw, colour: str, **how) -> None:
  """A power law over C with its 95% band."""
  ends = [bootstrap.interval(law.spread(c)) for c in flops]
  if None not in ends:
    low, high = np.array(ends).T
    ax.fill_between(flops, low, high, color=colour, alpha=BAND, lw=0, zorder=0)
  look: Any = {"ls": "--", "color": colour, "lw": 1.0, "zorder": 1} | how
  ax.plot(flops, law(flops), **look)


def reach(found: Analysis) -> float:
  """The largest C that is drawn."""
  ends = [found.iso.profiles[-1].flops, *found.held_out.flops]
  return float(max([*ends, *([] if found.forecast is None else [found.forecast["flops"]])]))


def _profiles(ax: Axes, found: Analysis) -> None:
  iso = found.iso
  shades = budget_colours(np.array([p.flops for p in iso.profiles]))
  ends = []
  for profile, colour in zip(iso.profiles, shades, strict=True):
    sizes, means = by_size(profile)
    ends.append((sizes[-1], means[-1]))
    ax.plot(profile.runs.params, profile.runs.loss, "o", ms=2.2, mew=0, color=colour, alpha=0.5, zorder=2)
    ax.plot(sizes, means, "o", color=colour, mec=PAGE, mew=0.5, zorder=3)
    if np.isfinite(profile.loss) and np.isfinite(profile.curve).all():
      used = profile.runs.params[profile.fitted]
      x = np.geomspace(used.min() / 1.12, used.max() * 1.12, 80)
      lowest, curvature, at = profile.curve
      ax.plot(x, np.exp(lowest + curvature * (np.log(x) - at) ** 2), color=colour, zorder=1)
    if not profile.edge:
      ax.plot(profile.params, profile.loss, "D", ms=4.8, mfc=PAGE, mec=colour, mew=1.3, zorder=4)
  if iso.loss is not None and iso.params is not None:
    flops = np.geomspace(iso.interior[0].flops, reach(found), 60)
    ax.plot(iso.params(flops), iso.loss(flops), "--", lw=0.9, color=SOFT, zorder=1)
  outcome(ax, "params", found)
  axes.count_axis(ax.xaxis, f"parameters $N$ ({found.fitted.convention.replace('_', '-')})")
  axes.loss_axis(ax.yaxis)
  ax.set_title("a  IsoFLOP profiles")
  if len(iso.profiles) > axes.MANY:
    axes.budget_scale(ax, iso.profiles[0].flops, iso.profiles[-1].flops)
    return
  low, high = ax.get_xlim()
  ax.set_xlim(low, high * (high / low) ** 0.2)  # room for the labels beside the curves
  texts = [axes.power_of_ten(p.flops) for p in iso.profiles]
  texts[0] = f"$C=$ {texts[0]}\nFLOPs"
  axes.label_ends(ax, ends, texts)


def _least(ax: Axes, found: Analysis) -> None:
  iso = found.iso
  points: list[tuple[float, float, str]] = []
  for profile, colour in zip(
    iso.profiles, budget_colours(np.array([p.flops for p in iso.profiles])), strict=True
  ):
    means = by_size(profile)[1]
    points += [(profile.flops, mean, colour) for mean in means]
    ax.plot(np.full(len(means), profile.flops), means, "_", color=colour, ms=6, alpha=0.6, zorder=2)
    if not profile.edge:
      ax.plot(profile.flops, profile.loss, "D", ms=4.8, mfc=PAGE, mec=colour, mew=1.3, zorder=4)
  flops = np.geomspace(iso.profiles[0].flops / 1.5, reach(found) * 1.5, 60)
  if found.settled:
    ax.plot(flops, [least(found, c) for c in flops], "-", color=INK, lw=1.0, zorder=2, label="parametric law")
  if iso.loss is not None:
    name = rf"power law $L^*\propto C^{{\,{iso.loss.exponent:.3f}}}$"
    band(ax, flops, iso.loss, SOFT, label=name)
  outcome(ax, "flops", found)
  best = [by_size(profile)[1].min() for profile in iso.profiles]
  known = [*found.held_out.loss, *((found.forecast or {}).get("ci95") or [])]
  lowest, highest = min([*best, *known]), max([*best, *known])
  span = max(highest / lowest, 1.02)
  # Badly sized runs would press the frontier flat; they are marked on the frame, and drawn in full on the left.
  ax.set_ylim(lowest * span**-0.3, highest * span**0.42)
  axes.compute_axis(ax.xaxis)
  axes.loss_axis(ax.yaxis)
  ax.set_title("b  Least loss")
  xs, ys, colours = (list(v) for v in zip(*points, strict=True))
  beyond = axes.mark_beyond(ax, np.array(xs), np.array(ys), colours)
  if beyond:
    axes.note(ax, f"{beyond} sizes beyond the frame, see a")
  ax.legend(loc="upper right", handlelength=1.6, borderaxespad=0.1)


def least(found: Analysis, flops: float) -> float:
  """The least loss at C after the parametric law."""
  return float(optima.parametric(found.law.law, found.fitted, flops)[2][0])


def outcome(ax: Axes, axis: str, found: Analysis) -> None:
  """What was predicted, with its interval, and what was measured, over `axis` of a run."""
  forecast, runs = found.forecast, found.held_out
  if forecast is not None:
    at, interval = forecast[axis], forecast["ci95"]
    if interval is not None:
      ax.plot([at, at], interval, "-", color=ORANGE, lw=1.4, solid_capstyle="butt", zorder=5)
      ax.plot([at, at], interval, "_", color=ORANGE, ms=6, mew=1.2, zorder=5)
    label = "predicted, 95% interval" if interval else "predicted"
    ax.plot(at, forecast["loss"], "D", ms=5, mfc=PAGE, mec=ORANGE, mew=1.3, zorder=6, label=label)
  if len(runs):
    values = getattr(runs, axis)
    ax.plot(values, runs.loss, "o", ms=4.2, color=ORANGE, mec=PAGE, mew=0.5, zorder=7, label=_said(runs))


def _said(runs: Runs) -> str:
  return f"measured, held out ({len(runs)} run{'s' * (len(runs) > 1)})"
