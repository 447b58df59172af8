"""Episodes to numbers: means with intervals over worlds, by domain and by slice, the worst first.

Episodes of one world share its traffic, so that worlds are the units, and how many there are of each domain is given,
so that domains are strata. With z_w what world w adds to the error of a mean (of a ratio, linearised),

  se^2 = sum over domains of W / (W - 1) sum_w (z_w - mean z)^2

and the interval is the mean -+ t se, t Student's quantile with sum (W - 1) degrees of freedom (W. Cochran, "Sampling
Techniques", 3rd ed., 1977, chapter 5). Three worlds know little of their spread, and t says so. Where a domain has but
one world, all worlds are one stratum, which is too wide rather than too narrow.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.driving.scores import RATES, TERMS
from evaluation.gates import student_quantile
from evaluation.safety import envelope, safe_distance

SLICED_BY = ("domain", "traffic_side", "weather", "light")
_LEAST = 3  # worlds that a slice must have to be listed
_WORST = 10
_LEVEL = 0.95
_TAKEN_OVER = "episodes_taken_over", "episodes"


def summary(episodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Score with its 95 % interval, terms and rates of a driver's episodes; one world has no interval."""
  values = {name: np.array([e[name] for e in episodes], float) for name in TERMS}  # None: NaN
  values |= {name: 1 - values[term] for name, term in RATES.items()}
  defined = {name: ~np.isnan(value) for name, value in values.items()}
  return {
    "episodes": len(episodes),
    "worlds": len({episode["seed"] for episode in episodes}),
    "ci95": interval(episodes, [(values["score"], np.ones(len(episodes)))]),
    **{
      name: float(value[defined[name]].mean()) if defined[name].any() else None
      for name, value in values.items()
    },
    "rates": {
      name: {
        "episodes": int(defined[name].sum()),
        "ci95": interval(episodes, [(np.nan_to_num(values[name]), defined[name].astype(float))]),
      }
      for name in RATES
    },
    "monitor": monitor(episodes),
    "ends": dict(sorted(Counter(episode["end"].split(":")[0] for episode in episodes).items())),
  }


def interval(
  episodes: Sequence[dict[str, Any]], ratios: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[float] | None:
  """95 % interval of a ratio of sums over the episodes, (over, under), or of the first of two less the second; None
  where there is but one world."""
  if not episodes:
    return None
  world_U, place_N = np.unique([episode["seed"] for episode in episodes], return_inverse=True)
  domain_U = np.full(len(world_U), "", object)
  domain_U[place_N] = [episode["domain"] for episode in episodes]
  value, z_U = 0.0, np.zeros(len(world_U))
  for sign, (over_N, under_N) in zip((1, -1), ratios, strict=False):
    over_U, under_U = np.bincount(place_N, over_N), np.bincount(place_N, under_N)
    if not under_U.sum():
      return None
    ratio = over_U.sum() / under_U.sum()
    value, z_U = value + sign * ratio, z_U + sign * (over_U - ratio * under_U) / under_U.sum()
  if len(world_U) < 2:
    return None
  names, counts = np.unique(domain_U.astype(str), return_counts=True)
  strata = [domain_U == name for name in names] if counts.min() > 1 else [np.ones(len(world_U), bool)]
  freedom = sum(int(own.sum()) - 1 for own in strata)
  error = np.sqrt(sum(own.sum() * z_U[own].var(ddof=1) for own in strata))
  reach = student_quantile((1 + _LEVEL) / 2, freedom) * error
  least = -1.0 if len(ratios) > 1 else 0.0
  return [float(max(value - reach, least)), float(min(value + reach, 1.0))]


def monitor(episodes: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
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
      over, under = (np.array([own.get(key, 0) for own in each], float) for key in _TAKEN_OVER)
      found[name] = {"counts": dict(counts), **envelope.rates(counts)}
      found[name]["takes_over_ci95"] = interval(episodes, [(over, under)])
  return found


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
  """The slices by one or two of SLICED_BY with the lowest scores, lowest first: of some worlds each, and of those with
  the same episodes the first alone."""
  axes = [(one,) for one in SLICED_BY] + [("domain", other) for other in SLICED_BY[1:]]
  found: dict[frozenset[int], dict[str, Any]] = {}
  for chosen in axes:
    for values in sorted({tuple(e[axis] for axis in chosen) for e in episodes}):
      part = [e for e in episodes if tuple(e[axis] for axis in chosen) == values]
      members = frozenset(map(id, part))
      if len({e["seed"] for e in part}) >= _LEAST and members not in found:
        name = ", ".join(f"{axis}={value}" for axis, value in zip(chosen, values, strict=True))
        found[members] = {"slice": name} | summary(part)
  return sorted(found.values(), key=lambda row: row["score"])[:_WORST]


def difference(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> list[float] | None:
  """95 % interval of the mean score of `one` less that of `other`, which drove in the same worlds."""
  every = [*one, *other]
  score = np.array([episode["score"] for episode in every])
  first = np.arange(len(every)) < len(one)
  return interval(every, [(np.where(own, score, 0.0), own.astype(float)) for own in (first, ~first)])
