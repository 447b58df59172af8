"""Table and figure of benchmarks/two_climates.py: nats per move in both climates, where vehicles have been and not."""

import pathlib
from typing import Any

import numpy as np

from benchmarks.climate_ways import ways

BASE = "base, summer alone"
PLACES = ("winter", "winter, unseen region", "summer", "summer, unseen region")


def losses(seed: dict[str, Any], domains: tuple[str, ...], winter_G: np.ndarray) -> dict[str, np.ndarray]:
  """Way -> [PLACES] of one seed. Cells are domain by domain, its weathers in turn."""
  unseen_G = np.repeat(np.array(domains) == seed["region"], len(winter_G) // len(domains))
  inside = np.stack([winter_G & ~unseen_G, winter_G & unseen_G, ~winter_G & ~unseen_G, ~winter_G & unseen_G])
  return {
    name: (inside @ np.array(way["sums"])) / (inside @ np.array(way["counts"]))
    for name, way in seed["ways"].items()
  }


def by_way(found: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Way -> (losses, how far they are from the base of their seed), [seeds, PLACES], of the seeds that have it."""
  domains, winter_G = tuple(found["domains"]), np.array(found["winter"])
  every = [losses(seed, domains, winter_G) for seed in found["seeds"].values()]
  having = {name: [own for own in every if name in own] for name in ways()}
  return {
    name: (np.stack([own[name] for own in some]), np.stack([own[name] - own[BASE] for own in some]))
    for name, some in having.items()
    if some
  }


def table(found: dict[str, Any]) -> str:
  """Markdown: mean over seeds, and of the difference from the base mean and standard deviation over seeds."""
  lines = [f"| | seeds | {' | '.join(PLACES)} | sent in a round |", "|---" * (len(PLACES) + 3) + "|"]
  sent = {name: way["bytes"] for seed in found["seeds"].values() for name, way in seed["ways"].items()}
  for name, (own, apart) in by_way(found).items():
    cells = [f"{value:.3f}" for value in own.mean(0)]
    if name != BASE:
      cells = [f"{cell} ({_apart(apart[:, k])})" for k, cell in enumerate(cells)]
    told = f"{sent[name]:,} B" if sent[name] else ""
    lines.append(f"| {name} | {len(own)} | {' | '.join(cells)} | {told} |")
  return "\n".join(lines)


def _apart(values: np.ndarray) -> str:
  spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
  return f"{values.mean():+.3f}{spread}"


def draw(found: dict[str, Any], path: pathlib.Path) -> None:
  """Writes path.svg and path.png: every way's change from the base, a dot for each seed."""
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from scaling.figures import theme

  shown = {name: apart for name, (_, apart) in by_way(found).items() if name != BASE}
  with mpl.rc_context(theme.STYLE):
    figure = Figure(figsize=(theme.WIDTH, 0.6 + 0.22 * len(shown)), layout="constrained")
    for place, axes in enumerate(figure.subplots(1, len(PLACES), sharey=True, sharex=True)):
      for row, apart in enumerate(shown.values()):
        values = apart[:, place]
        axes.plot(values, np.full(len(values), row), "o", color=theme.SOFT, ms=3)
        axes.plot(values.mean(), row, "|", color=theme.BLUE, ms=11, mew=2)
      axes.axvline(0, color=theme.RULE, lw=0.8, zorder=0)
      axes.set(
        yticks=range(len(shown)),
        yticklabels=list(shown),
        title=PLACES[place].replace(", ", ",\n"),
        ylim=(len(shown) - 0.5, -0.5),
      )
    figure.supxlabel(
      "held-out nats per move, less those of the base that has seen summer alone", fontsize=8.5
    )
    theme.save_pictures(figure, path, png=True)
