"""What was predicted for a larger run, beside what came out."""

from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from scaling.analysis import Analysis
from scaling.figures.stability import ESTIMATORS
from scaling.figures.theme import BLUE, INK, ORANGE, PAGE, SOFT, STYLE, WIDTH

BOX: Any = {"fc": PAGE, "ec": "none", "pad": 0.6}


def draw(found: Analysis) -> Figure | None:
  """Loss of the predicted run: each estimator, the 95% interval of the chosen one, the runs that were measured."""
  forecast, outcome = found.forecast, found.outcome
  if forecast is None:
    return None
  with mpl.rc_context(STYLE):
    chosen = forecast["estimator"]
    others = [n for n in ESTIMATORS if n != chosen and forecast["estimates"].get(n) is not None]
    rows = [chosen, *others]
    figure = Figure(figsize=(WIDTH, 1.35 + 0.28 * len(rows)), layout="constrained")
    ax = figure.subplots()
    names = []
    for k, name in enumerate(rows):
      height = len(rows) - k
      value = forecast["loss"] if name == chosen else forecast["estimates"][name]
      if name == chosen and forecast["ci95"] is not None:
        low, high = forecast["ci95"]
        ax.axvspan(low, high, color=ORANGE, alpha=0.10, lw=0)
        ax.plot([low, high], [height] * 2, color=ORANGE, lw=2.4, solid_capstyle="butt", zorder=2)
        for end, side in ((low, "right"), (high, "left")):
          ax.annotate(
            f"{end:.3f}",
            (end, height),
            (-4 if side == "right" else 4, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=7,
          )
      ax.plot(value, height, "D", ms=6, mfc=PAGE, mec=ORANGE if name == chosen else SOFT, mew=1.5, zorder=4)
      ax.annotate(
        f"{value:.4f}",
        (value, height),
        (0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        bbox=BOX,
        zorder=3,
      )
      names.append(ESTIMATORS[name][0] + (" (chosen)" if name == chosen else ""))
    if outcome is not None:
      measured = [float(row["loss"]) for row in found.held_out.rows if row["run_id"] in outcome["run_ids"]]
      ax.axvline(outcome["loss"], color=INK, lw=0.9, zorder=1)
      ax.plot(measured, [0] * len(measured), "o", ms=4.5, color=INK, mec=PAGE, mew=0.5, zorder=4)
      ax.annotate(
        f"{outcome['loss']:.4f}",
        (outcome["loss"], 0),
        (0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        bbox=BOX,
        zorder=3,
      )
      names.append(f"measured ({len(measured)} run{'s' * (len(measured) > 1)})")
    best = forecast["best_loss_of_largest_budget"]
    ax.axvline(best, color=BLUE, lw=0.9, ls="--", zorder=1)
    bottom = 0 if outcome is not None else 1
    ax.annotate(
      "best run of the\nlargest fitted budget",
      (best, bottom),
      (-4, 0),
      textcoords="offset points",
      ha="right",
      va="center",
      fontsize=7,
      color=BLUE,
    )
    ax.set_yticks(range(len(rows), bottom - 1, -1), names)
    ax.set_ylim(bottom - 0.6, len(rows) + 0.75)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.margins(x=0.09)
    ax.set_xlabel("held-out loss (nats per token)")
    return figure
