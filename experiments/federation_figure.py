"""The curve of a federated run: held-out loss against rounds and against the bytes that vehicles sent."""

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from scaling.figures.theme import BLUE, ORANGE, STYLE, WIDTH, finish, save_pictures


def draw(records: Sequence[dict[str, Any]], central: float | None, path: pathlib.Path) -> None:
  """Writes path.svg. Args: records: of metrics.jsonl; central: held-out loss of one trained where all logs are."""
  judged = [record for record in records if "loss" in record]
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    rounds, sent = figure.subplots(1, 2, sharey=True)
    losses = [record["loss"] for record in judged]
    rounds.plot([record["step"] for record in judged], losses, "o-", color=BLUE)
    sent.plot([record["uplink_bytes"] / 1e6 for record in judged], losses, "o-", color=BLUE)
    for axes in (rounds, sent):
      if central is not None:
        axes.axhline(central, color=ORANGE, lw=0.8, ls="--")
        axes.annotate(
          "trained where all logs are", (1, central), (-2, 3), xycoords=("axes fraction", "data"),
          textcoords="offset points", ha="right", color=ORANGE, fontsize=7,
        )  # fmt: skip
    rounds.set(xlabel="rounds", ylabel="held-out loss (nats per token)")
    sent.set(xlabel="sent by vehicles (MB)")
    finish(figure, "")
    save_pictures(figure, path, png=False)
