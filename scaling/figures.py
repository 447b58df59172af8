"""The figures of a fit: vector PDF and PNG, readable in print, in grey and by colour-blind readers.

Budgets run along one sequential palette (cividis, light to dark with compute) and carry their label beside
the curve; what was predicted and what came out are orange, the one other hue.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from scaling import bootstrap
from scaling.isoflop import IsoFlop, PowerLaw, Profile
from scaling.table import Runs

ORANGE, INK, SOFT = "#d55e00", "#1c2024", "#6b7580"
STYLE: Any = {
  "font.size": 8, "axes.labelsize": 8.5, "axes.titlesize": 8.5, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
  "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
  "axes.linewidth": 0.6, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
  "text.color": INK, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
  "ytick.minor.width": 0.4, "xtick.major.size": 3, "ytick.major.size": 3, "xtick.minor.size": 1.6,
  "ytick.minor.size": 1.6, "lines.linewidth": 1.2, "lines.markersize": 4.2, "legend.frameon": False,
  "legend.fontsize": 7.5, "figure.dpi": 100, "pdf.fonttype": 42, "svg.hashsalt": "drivetrain",
  "mathtext.fontset": "dejavusans", "axes.unicode_minus": True,
}  # fmt: skip
WIDTH = 7.1  # inches: two columns of a journal


def colours(count: int) -> list[tuple[float, float, float]]:
  """From light to dark with the budget."""
  palette = mpl.colormaps["cividis_r"]
  return [palette(0.18 + 0.82 * k / max(count - 1, 1))[:3] for k in range(count)]


def power_of_ten(value: float) -> str:
  """4.03e11 -> $4.0 \\times 10^{11}$ as mathtext."""
  exponent = int(np.floor(np.log10(value)))
  mantissa = f"{value / 10**exponent:.1f}"
  if mantissa == "10.0":
    mantissa, exponent = "1.0", exponent + 1
  return rf"${mantissa}\times10^{{{exponent}}}$"


def isoflop(
  iso: IsoFlop,
  parametric: Callable[[float], float],
  outcomes: Runs | None,
  prediction: dict[str, Any] | None,
) -> Figure:
  """Left: loss over N at every budget, with parabolas and minima. Right: the least loss over compute.

  `parametric` gives the least loss at C after Approach 3.
  """
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 3.25), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_profiles(left, iso, outcomes, prediction)
    _draw_frontier(right, iso, parametric, outcomes, prediction)
    return figure


def _draw_profiles(ax: Axes, iso: IsoFlop, outcomes: Runs | None, prediction: dict[str, Any] | None) -> None:
  for profile, colour in zip(iso.profiles, colours(len(iso.profiles)), strict=True):
    sizes, means = _by_size(profile)
    ax.plot(profile.runs.params, profile.runs.loss, "o", ms=2.4, mew=0, color=colour, alpha=0.55, zorder=2)
    ax.plot(sizes, means, "o", color=colour, mec="white", mew=0.5, zorder=3)
    if np.isfinite(profile.loss):
      used = profile.runs.params[profile.fitted]
      x = np.geomspace(used.min() / 1.12, used.max() * 1.12, 200)
      top, curvature, at = profile.curve
      ax.plot(x, np.exp(top + curvature * (np.log(x) - at) ** 2), color=colour, zorder=1)
    if not profile.edge:
      ax.plot(profile.params, profile.loss, "D", ms=4.6, mfc="white", mec=colour, mew=1.2, zorder=4)
    ax.annotate(
      f"{power_of_ten(profile.flops)} FLOPs", (sizes[-1], means[-1]), (6, 0), textcoords="offset points",
      va="center", fontsize=7, color=colour, annotation_clip=False,
    )  # fmt: skip
  if iso.loss is not None and iso.params is not None:
    flops = np.geomspace(iso.interior[0].flops, _reach(iso, outcomes, prediction), 60)
    ax.plot(iso.params(flops), iso.loss(flops), "--", lw=0.8, color=SOFT, zorder=1)
  _draw_outcome(ax, "params", outcomes, prediction)
  _log_x(ax, "parameters $N$ (non-embedding)")
  low, high = ax.get_xlim()
  ax.set_xlim(low, high * (high / low) ** 0.22)  # room for the labels beside the curves
  _log_y(ax, "held-out loss (nats per token)")
  ax.set_title("a  IsoFLOP profiles")


def _draw_frontier(
  ax: Axes,
  iso: IsoFlop,
  parametric: Callable[[float], float],
  outcomes: Runs | None,
  prediction: dict[str, Any] | None,
) -> None:
  for profile, colour in zip(iso.profiles, colours(len(iso.profiles)), strict=True):
    means = _by_size(profile)[1]
    ax.plot(np.full(len(means), profile.flops), means, "_", color=colour, ms=6, alpha=0.45)
    if not profile.edge:
      ax.plot(profile.flops, profile.loss, "D", ms=4.6, mfc="white", mec=colour, mew=1.2, zorder=4)
  flops = np.geomspace(iso.profiles[0].flops / 1.5, _reach(iso, outcomes, prediction) * 1.5, 60)
  law = [parametric(c) for c in flops]
  ax.plot(flops, law, "-", color=INK, lw=0.9, zorder=2, label="parametric law")
  if iso.loss is not None:
    _band(ax, flops, iso.loss, SOFT, f"$L^* \\propto C^{{\\,{iso.loss.exponent:.3f}}}$")
  _draw_outcome(ax, "flops", outcomes, prediction)
  best = [_by_size(profile)[1].min() for profile in iso.profiles]
  top = _by_size(iso.profiles[0])[1]
  lowest = min([*best, *([] if outcomes is None else outcomes.loss), *(_interval(prediction) or [])])
  span = max(max(best) / lowest, 1.02)
  # Badly sized runs would press the frontier flat; their story is told on the left.
  ax.set_ylim(lowest * span**-0.35, max(min(top.max(), max(best) * span**0.9), max(best) * span**0.1))
  _log_x(ax, "training compute $C$ (FLOPs)")
  _log_y(ax, "held-out loss (nats per token)")
  ax.set_title("b  Least loss")
  ax.legend(loc="upper right", handlelength=1.6, borderaxespad=0.2)


def _draw_outcome(ax: Axes, axis: str, outcomes: Runs | None, prediction: dict[str, Any] | None) -> None:
  if prediction is not None:
    at, interval = prediction[axis], _interval(prediction)
    if interval is not None:
      ax.plot([at, at], interval, "-", color=ORANGE, lw=1.4, solid_capstyle="butt", zorder=5)
      ax.plot([at, at], interval, "_", color=ORANGE, ms=6, mew=1.2, zorder=5)
    label = "predicted, 95%" if interval else "predicted"
    ax.plot(at, prediction["loss"], "D", ms=4.8, mfc="white", mec=ORANGE, mew=1.3, zorder=6, label=label)
  if outcomes is not None and len(outcomes):
    ax.plot(
      getattr(outcomes, axis), outcomes.loss, "o", ms=4.8, color=ORANGE, mec="white", mew=0.6, zorder=7,
      label="measured, held out",
    )  # fmt: skip


def optima(iso: IsoFlop) -> Figure:
  """N*(C) and D*(C) with their power laws and 95% bands."""
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    panels = (
      ("a  Optimal size", "parameters $N^*$", "params", iso.params, 0, "N^*"),
      ("b  Optimal data", "tokens $D^*$", "tokens", iso.tokens, 1, "D^*"),
    )
    for ax, (title, label, name, law, row, symbol) in zip(figure.subplots(1, 2), panels, strict=True):
      shades = colours(len(iso.profiles))
      for profile, colour in zip(iso.profiles, shades, strict=True):
        if profile.edge:
          continue
        interval = bootstrap.interval(np.exp(profile.draws[row]))
        if interval is not None:
          ax.plot([profile.flops] * 2, interval, color=colour, lw=1.2, zorder=3)
        ax.plot(
          profile.flops, getattr(profile, name), "D", ms=4.8, mfc="white", mec=colour, mew=1.2, zorder=4
        )
      if law is not None:
        ends = iso.interior[0].flops / 1.6, iso.interior[-1].flops * 4
        _band(ax, np.geomspace(*ends, 60), law, SOFT)
        ci = bootstrap.interval(law.draws[0])
        text = f"${symbol} \\propto C^{{\\,{law.exponent:.2f}}}$"
        text += f"   95%: {ci[0]:.2f} to {ci[1]:.2f}" if ci else ""
        ax.annotate(text, (0.04, 0.93), xycoords="axes fraction", va="top")
      ax.set_yscale("log")
      _log_x(ax, "training compute $C$ (FLOPs)")
      ax.set_ylabel(label)
      ax.set_title(title)
    return figure


def residuals(runs: Runs, budget: np.ndarray, deviation: np.ndarray) -> Figure:
  """Measured over fitted loss minus one, in percent, over N and over D; `deviation` is their ln, [R]."""
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    shades = colours(int(budget.max()) + 1)
    percent = 100 * np.expm1(deviation)
    for ax, values, label in zip(
      axes, (runs.params, runs.tokens), ("parameters $N$", "tokens $D$"), strict=True
    ):
      ax.axhline(0, color=SOFT, lw=0.7)
      for k, colour in enumerate(shades):
        mine = budget == k
        name = f"{power_of_ten(np.exp(np.log(runs.flops[mine]).mean()))} FLOPs"
        ax.plot(values[mine], percent[mine], "o", color=colour, mec="white", mew=0.5, label=name)
      _log_x(ax, label)
    axes[0].set_ylabel("measured above fitted loss (%)")
    axes[0].set_title("Residuals of the parametric law")
    if len(shades) <= 8:
      figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", handletextpad=0.2)
    return figure


def save(figure: Figure, path: pathlib.Path, footer: str) -> None:
  """Writes `path`.pdf and `path`.png; `footer` (table hash, revision) goes below in small type.

  The files hold no date, so that the same table gives the same bytes.
  """
  with mpl.rc_context(STYLE):
    figure.supxlabel(footer, fontsize=5.5, color=SOFT, x=0.005, ha="left")
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None, "Producer": None})
    figure.savefig(path.with_suffix(".png"), dpi=220, metadata={"Software": None})


def _by_size(profile: Profile) -> tuple[np.ndarray, np.ndarray]:
  """Sizes, and the mean loss over the seeds of each."""
  sizes, which = np.unique(profile.runs.params, return_inverse=True)
  return sizes, np.bincount(which, profile.runs.loss) / np.bincount(which)


def _interval(prediction: dict[str, Any] | None) -> Sequence[float] | None:
  return None if prediction is None else prediction["ci95"]


def _reach(iso: IsoFlop, outcomes: Runs | None, prediction: dict[str, Any] | None) -> float:
  ends = [iso.profiles[-1].flops, *([] if outcomes is None else outcomes.flops)]
  return max([*ends, *([] if prediction is None else [prediction["flops"]])])


def _band(ax: Axes, flops: np.ndarray, law: PowerLaw, colour: str, label: str = "") -> None:
  draws = np.stack([law.spread(c) for c in flops])
  finite = draws[:, np.isfinite(draws).all(0)]
  if finite.shape[1] > 1:
    low, high = np.quantile(finite, [0.025, 0.975], axis=1)
    ax.fill_between(flops, low, high, color=colour, alpha=0.14, lw=0)
  ax.plot(flops, law(flops), "--", color=colour, lw=0.9, zorder=1, label=label)


def _log_x(ax: Axes, label: str) -> None:
  ax.set_xscale("log")
  ax.set_xlabel(label)
  ax.xaxis.set_major_locator(LogLocator(10, numticks=12))
  ax.xaxis.set_minor_formatter(NullFormatter())


def _log_y(ax: Axes, label: str) -> None:
  """Loss spans a fraction of a decade: a log scale with plain numbers on it."""
  ax.set_yscale("log")
  ax.set_ylabel(label)
  plain: Callable = lambda value, _: f"{value:.3g}" if value >= 10 else f"{value:.2f}"  # noqa: E731 - a formatter is a function of two
  ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
  ax.yaxis.set_major_formatter(FuncFormatter(plain))
  ax.yaxis.set_minor_formatter(NullFormatter())
  ax.yaxis.set_minor_locator(LogLocator(10, subs=[]))
