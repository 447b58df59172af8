"""What few bits cost: nats added, measured beside the law; and at one training budget the loss over bytes by recipe."""

from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.figure import Figure

from scaling.advice.vehicle import Answer
from scaling.figures import axes
from scaling.figures.theme import INK, ORANGE, PAGE, RAMP, SOFT, STYLE, WIDTH
from scaling.precision_table import FLOAT, Laws
from scaling.table import Runs


def draw(runs: Runs, found: Laws, answer: Answer, limits: Mapping[str, float]) -> Figure:
  """Left: a point per run and recipe, the noise of a measurement shaded. Right: a line per recipe over sizes, its best
  size within the limits marked, the best of all filled."""
  recipes = (FLOAT, *found.recipes)
  colours = {name: RAMP[round(k * (len(RAMP) - 1) / (len(recipes) - 1))] for k, name in enumerate(recipes)}
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    least, most = found.noise / 3, 1.5 * float(found.added.max())  # far below the noise nothing is seen
    for k, name in enumerate(found.recipes):
      told = found.of(name).added(runs.params, runs.tokens, found.bits[k])
      shape = "^" if name in found.others else "o"
      left.plot(told, found.added[k], shape, ms=3.4, mfc=colours[name], mec=PAGE, mew=0.3, label=name)
    left.plot([least, most], [least, most], color=SOFT, lw=0.8, zorder=1)
    left.axhspan(least, found.noise, color=SOFT, alpha=0.12, lw=0)
    axes.nats_axis(left.xaxis, "nats added, by the law")
    axes.nats_axis(left.yaxis, "nats added, measured")
    left.set_xlim(least, most)
    left.set_ylim(least, most)
    left.legend(loc="upper left", handletextpad=0.1)
    for name in recipes:
      dashes = "--" if name in found.others else "-"
      right.plot(answer.costs[name]["bytes"], answer.losses[name], dashes, color=colours[name], label=name)
    for one in answer.best:
      chosen = one is answer.best[0]
      style = {"mfc": ORANGE if chosen else PAGE, "mec": ORANGE if chosen else colours[one.recipe]}
      right.plot(one.costs["bytes"], one.loss, "D" if chosen else "o", ms=6 if chosen else 4, **style)
    if "bytes" in limits:
      right.axvline(limits["bytes"], color=INK, lw=0.8, ls="--")
    axes.count_axis(right.xaxis, "bytes on the vehicle")
    axes.loss_axis(right.yaxis, "loss after quantisation (nats per token)")
    best = min(one.loss for one in answer.best)
    right.set_ylim(best * 0.97, best * 1.5)
    right.legend(loc="upper right", handlelength=1.2)
  return figure
