"""Episodes to numbers: means with intervals over worlds, by domain and by slice, the worst first."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation import intervals
from evaluation.driving.scores import TERMS
from evaluation.safety import envelope, safe_distance

DRAWS = 2000
SLICED_BY = ("domain", "traffic_side", "weather", "light")
RATES = {  # of breaking a rule, half where it is half broken
  "collision_rate": "no_at_fault_collision", "off_road_rate": "drivable_area", "red_light_rate": "traffic_light",
  "wrong_way_rate": "driving_direction",
}  # fmt: skip
_LEAST = 8  # episodes that a slice must have to be listed
_WORST = 10
_TAKEN_OVER = "episodes_taken_over", "episodes"


def summary(episodes: Sequence[dict[str, Any]], seed: int = 0) -> dict[str, Any]:
  """Score with its 95 % interval, rates and terms of a driver's episodes.

  Episodes of one world share its traffic, so whole worlds are drawn again (evaluation/intervals.py); one world has no
  interval.
  """
  if not episodes:
    return {"episodes": 0, "score": None, "ci95": None}
  world_N = np.array([episode["seed"] for episode in episodes])
  worlds = len(np.unique(world_N))
  draws = intervals.draw_scenes(world_N, DRAWS, seed)
  values = {name: np.array([episode[name] for episode in episodes], float) for name in TERMS}  # None: NaN
  ones = np.ones(len(episodes))
  return {
    "episodes": len(episodes),
    "worlds": worlds,
    "ci95": intervals.interval(draws.ratio(values["score"], ones)) if worlds > 1 else None,
    **{name: _mean(values[name]) for name in TERMS},
    **{name: _mean(1 - values[term]) for name, term in RATES.items()},
    "monitor": monitor(episodes, draws if worlds > 1 else None),
    "ends": dict(sorted(Counter(episode["end"].split(":")[0] for episode in episodes).items())),
  }


def monitor(
  episodes: Sequence[dict[str, Any]], draws: intervals.Draws | None = None
) -> dict[str, dict[str, Any]]:
  """By set of constants: counts and rates of the monitor beside the driver (evaluation/safety/envelope.py), over the
  episodes that were driven, and the interval of the share that it would have taken over."""
  none: dict[str, int] = {}
  found: dict[str, dict[str, Any]] = {}
  for name in safe_distance.SETS:
    each = [episode.get("monitor", {}).get(name, none) for episode in episodes]
    counts: Counter[str] = Counter()
    for own in each:
      counts.update(own)
    if counts:
      found[name] = {"counts": dict(counts), **envelope.rates(counts)}
      if draws:
        over, under = (np.array([own.get(key, 0) for own in each], float) for key in _TAKEN_OVER)
        found[name]["takes_over_ci95"] = intervals.interval(draws.ratio(over, under))
  return found


def _mean(values: np.ndarray) -> float | None:
  """Over what is defined; None where nothing is."""
  defined = values[~np.isnan(values)]
  return float(defined.mean()) if len(defined) else None


def by_domain(episodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """The same for each domain."""
  domains = sorted({episode["domain"] for episode in episodes})
  return {name: summary([e for e in episodes if e["domain"] == name]) for name in domains}


def world_faults(episodes: Sequence[dict[str, Any]]) -> dict[str, int]:
  """How often the worlds themselves did what no agent can, over every world and driver once."""
  total: Counter[str] = Counter()
  for faults in {(e["seed"], e["driver"]): e["world_faults"] for e in episodes}.values():
    total.update(faults)
  return dict(total)


def worst_slices(episodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  """The slices by one or two of SLICED_BY with the lowest scores, lowest first."""
  axes = [(one,) for one in SLICED_BY] + [("domain", other) for other in SLICED_BY[1:]]
  found = []
  for chosen in axes:
    for values in sorted({tuple(e[axis] for axis in chosen) for e in episodes}):
      part = [e for e in episodes if tuple(e[axis] for axis in chosen) == values]
      if len(part) >= _LEAST:
        name = ", ".join(f"{axis}={value}" for axis, value in zip(chosen, values, strict=True))
        found.append({"slice": name} | summary(part))
  return sorted(found, key=lambda row: row["score"])[:_WORST]


def difference(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> list[float] | None:
  """95 % interval of the mean score of `one` less that of `other` over the worlds drawn; None for a single world."""
  world = np.array([episode["seed"] for episode in (*one, *other)])
  if len(np.unique(world)) < 2:
    return None
  sign = np.array([1.0] * len(one) + [-1.0] * len(other))
  draws = intervals.draw_scenes(world, DRAWS, 0)
  score = np.array([episode["score"] for episode in (*one, *other)])
  first, second = (
    draws.ratio(np.where(sign == s, score, 0.0), (sign == s).astype(float)) for s in (1.0, -1.0)
  )
  return intervals.interval(first - second)
