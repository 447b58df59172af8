"""The figure of a judged simulator: realism against the horizon, and what commands have changed."""

import pathlib
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_OWN, _OTHER, _INK = "#0b6e99", "#9aa3ab", "#33383d"
_STYLE: dict[Any, Any] = {
  "font.size": 8.0,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.edgecolor": _INK,
  "axes.titlesize": 8.5,
  "axes.titlelocation": "left",
  "legend.frameon": False,
  "svg.hashsalt": "world_model",
}


def draw(result: dict[str, Any], points: dict[str, dict], path: pathlib.Path) -> None:
  """Writes path.svg and path.png. points: by kind of command the values [K] and effects [K, N]."""
  with mpl.rc_context(_STYLE):
    figure = Figure(figsize=(7.8, 2.8), layout="constrained")
    drift, accelerate, steer = figure.subplots(1, 3)
    _drift(drift, result["realism"])
    control = result["control"]
    _control(
      accelerate, points["accelerate"], control["accelerate"]["a_second_later"], "b  told to accelerate"
    )
    accelerate.set_xlabel("for one second (m/s²)")
    accelerate.set_ylabel("speed a second later (m/s)")
    _control(steer, points["steer"], control["steer"]["a_second_later"], "c  told to steer")
    steer.set_xlabel("added for one second (rad/s)")
    steer.set_ylabel("to the left a second later (m)")
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=160)


def _drift(ax: Axes, realism: dict[str, Any]) -> None:
  seconds = np.arange(1, len(realism["by_second"]) + 1)
  low, high = np.array([band or (np.nan, np.nan) for band in realism["by_second_ci95"]]).T
  ax.fill_between(seconds, low, high, color=_OWN, alpha=0.15, lw=0)
  ax.plot(seconds, realism["by_second"], "o-", color=_OWN, ms=3, label="the model")
  straight = realism["constant_velocity"]["by_second"]
  ax.plot(seconds, straight, "o-", color=_OTHER, ms=3, label="constant velocity")
  ax.axhline(0.9 * realism["by_second"][0], color=_INK, lw=0.6, ls=":")
  ax.text(seconds[0], 0.9 * realism["by_second"][0] - 0.01, "90 % of the first", va="top", fontsize=7)
  ax.set_xlabel("second of the simulation")
  ax.set_ylabel("realism of that second")
  ax.set_title("a  realism against horizon")
  ax.set_ylim(0, 1)
  ax.legend(loc="lower left")


def _control(ax: Axes, points: dict, found: dict[str, Any], title: str) -> None:
  values = np.asarray(points["values"])
  gap = np.diff(np.sort(values)).min()
  aside = np.random.default_rng(0).uniform(-0.3, 0.3, points["effect_KxN"].shape) * gap
  ax.axhline(0, color=_INK, lw=0.5)
  ax.plot(
    (values[:, None] + aside).ravel(),
    points["effect_KxN"].ravel(),
    ".",
    color=_OWN,
    ms=2.5,
    alpha=0.5,
    mec="none",
  )
  ax.plot(values, np.median(points["effect_KxN"], axis=1), "_", color=_INK, ms=12, mew=1.5)
  ax.set_title(title)
  rank = found["spearman"]
  ax.text(
    0.98,
    0.03,
    "" if rank is None else f"Spearman {rank:.2f}",
    transform=ax.transAxes,
    ha="right",
    fontsize=7.5,
  )
