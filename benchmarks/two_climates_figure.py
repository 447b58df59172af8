"""Table and figure of benchmarks/two_climates.py: nats per move in both climates, where vehicles have been and not."""

import pathlib
from typing import Any

import numpy as np

PLACES = ("winter", "winter, unseen region", "summer", "summer, unseen region")


def losses(seed: dict[str, Any], domains: tuple[str, ...], winter_G: np.ndarray) -> dict[str, np.ndarray]:
  """Way -> [PLACES] of one seed. Cells are domain by domain, its weathers in turn."""
  unseen_G = np.repeat(np.array(domains) == seed["region"], len(winter_G) // len(domains))
  inside = np.stack([winter_G & ~unseen_G, winter_G & unseen_G, ~winter_G & ~unseen_G, ~winter_G & unseen_G])
  return {
    name: (inside @ np.array(way["sums"])) / (inside @ np.array(way["counts"]))
    for name, way in seed["ways"].items()
  }


def by_way(found: dict[str, Any]) -> dict[str, np.ndarray]:
  """Way -> [seeds, PLACES], of the seeds that have it."""
  domains, winter_G = tuple(found["domains"]), np.array(found["winter"])
  every = [losses(seed, domains, winter_G) for seed in found["seeds"].values()]
  return {name: np.stack([own[name] for own in every if name in own]) for name in every[0]}


def table(found: dict[str, Any]) -> str:
  """Markdown: mean over seeds, and of the difference from the base mean and standard deviation over seeds."""
  all_ways = by_way(found)
  base = next(iter(all_ways.values()))
  lines = [f"| | {' | '.join(PLACES)} | sent by a vehicle in a round |", "|---" * (len(PLACES) + 2) + "|"]
  first = next(iter(found["seeds"].values()))["ways"]
  for name, own in all_ways.items():
    cells = [f"{value:.3f}" for value in own.mean(0)]
    if own is not base:
      apart = own - base[: len(own)]
      spread = apart.std(0, ddof=1) if len(own) > 1 else np.full(len(PLACES), np.nan)
      cells = [
        f"{value} ({mean:+.3f} ± {sd:.3f})"
        for value, mean, sd in zip(cells, apart.mean(0), spread, strict=True)
      ]
    sent = f"{first[name]['bytes']:,} B" if first[name]["bytes"] else ""
    lines.append(f"| {name} | {' | '.join(cells)} | {sent} |")
  return "\n".join(lines)


def draw(found: dict[str, Any], path: pathlib.Path) -> None:
  """Writes path.svg and path.png: every way's change from the base, a dot for each seed."""
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from scaling.figures import theme

  all_ways = by_way(found)
  base = next(iter(all_ways.values()))
  shown = {name: own - base[: len(own)] for name, own in all_ways.items() if own is not base}
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
