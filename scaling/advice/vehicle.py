"""Which size at which bits: a training budget and a vehicle's limits, both at once.

  minimise over N and recipes p   L(N, D) + delta_p(N, D),   D = C / c(N),   cost_p(N) <= limit

L the float law, delta_p what quantising adds (scaling/precision_table.py), c(N) training FLOPs per token. Costs
and c are those of the ladder's sizes, between them interpolated in logarithms; sizes beyond are not considered.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from data.errors import BadInput
from scaling.precision_table import FLOAT, Costs, Laws
from scaling.table import Runs

GRID = 400  # sizes looked at


@dataclasses.dataclass(frozen=True)
class Best:
  """The best size of one recipe within the limits: N, D, nats per token and costs; intervals over draws."""

  recipe: str
  params: float
  tokens: float
  loss: float
  costs: dict[str, float]
  params_ci95: list[float] | None
  loss_ci95: list[float] | None
  at_edge: bool


@dataclasses.dataclass(frozen=True)
class Answer:
  """best: of each recipe that fits, the chosen one first. shares: of the draws in which each would be chosen.
  params [G], losses {recipe: [G]} and costs {recipe: {name: [G]}}: all that was looked at."""

  best: list[Best]
  shares: dict[str, float]
  params: np.ndarray
  losses: dict[str, np.ndarray]
  costs: dict[str, dict[str, np.ndarray]]


def choose(
  found: Laws, runs: Runs, costs: Costs, bits: Mapping[str, int], budget: float, limits: Mapping[str, float]
) -> Answer:
  """Raises BadInput that says by how much nothing fits, and for a limit that is not priced."""
  recipes = (FLOAT, *found.recipes)
  if unknown := sorted(set(limits) - costs[FLOAT].keys()):
    raise BadInput(f"no cost {unknown[0]!r}", "--limits", f"choose from {', '.join(costs[FLOAT])}")
  sizes = costs[FLOAT]["params"]
  grid = np.geomspace(sizes.min(), sizes.max(), GRID)
  tokens = budget / flops_per_token(runs, grid)
  priced = {
    name: {key: _between(costs[name]["params"], costs[name][key], grid) for key in costs[name]}
    for name in recipes
  }
  fits = np.ones((len(recipes), GRID), bool)
  for key, limit in limits.items():
    fits &= np.array([priced[name][key] for name in recipes]) <= limit
  if not fits.any():
    over = {n: max(priced[n][key].min() / limit for key, limit in limits.items()) for n in recipes}
    name = min(over, key=over.__getitem__)
    raise BadInput(
      f"nothing fits: {name} at its smallest needs {over[name]:.3g} times as much", "--limits", "allow more"
    )

  def losses(drawn: bool) -> np.ndarray:
    """[P, G] or, of every draw, [P, G, L]."""
    base = found.drawn_base if drawn else found.base
    n, d = (grid[:, None], tokens[:, None]) if drawn else (grid, tokens)
    own = base.loss(n, d)
    added = [found.of(name, drawn).added(n, d, bits[name]) for name in found.recipes]
    return np.stack([own, *(own + more for more in added)])

  point, drawn = losses(False), losses(True)
  masked = np.where(fits, point, np.inf)
  masked_drawn = np.where(fits[:, :, None], drawn, np.inf)
  rows = []
  for p, name in enumerate(recipes):
    if not fits[p].any():
      continue
    g, g_L = int(masked[p].argmin()), masked_drawn[p].argmin(0)
    loss_L = np.take_along_axis(drawn[p], g_L[None], 0)[0]
    inside = np.flatnonzero(fits[p])
    rows.append(
      Best(
        name, float(grid[g]), float(tokens[g]), float(point[p, g]),
        {key: float(values[g]) for key, values in priced[name].items() if key != "params"},
        found.interval(grid[g_L], float(grid[g])), found.interval(loss_L, float(point[p, g])),
        g in (0, GRID - 1) and len(inside) > 1,
      )
    )  # fmt: skip
  rows.sort(key=lambda one: one.loss)
  winner = masked_drawn.min(1).argmin(0)
  shares = {name: float(np.mean(winner == p)) for p, name in enumerate(recipes)}
  return Answer(rows, shares, grid, dict(zip(recipes, point, strict=True)), priced)


def flops_per_token(runs: Runs, params: np.ndarray) -> np.ndarray:
  """c(N) of the ladder's family."""
  sizes, first = np.unique(runs.params, return_index=True)
  return _between(sizes, (runs.flops / runs.tokens)[first], params)


def _between(sizes: np.ndarray, values: np.ndarray, params: np.ndarray) -> np.ndarray:
  return np.exp(np.interp(np.log(params), np.log(sizes), np.log(values)))


def as_json(answer: Answer) -> dict[str, Any]:
  return {"best": [dataclasses.asdict(one) for one in answer.best], "shares": answer.shares}


def markdown(answer: Answer) -> str:
  """A line for each recipe that fits, the best first."""
  lines = ["| recipe | N | 95 % | D | bytes | nats | 95 % | best in draws |", "|---" * 8 + "|"]
  for one in answer.best:
    lines.append(
      f"| {one.recipe} | {one.params:,.0f}{' (end of the ladder)' if one.at_edge else ''} |"
      f" {_ends(one.params_ci95, ',.0f')} | {one.tokens:,.0f} | {one.costs['bytes']:,.0f} | {one.loss:.4f} |"
      f" {_ends(one.loss_ci95, '.5g')} | {answer.shares[one.recipe]:.0%} |"
    )
  return "\n".join(lines)


def _ends(ci95: list[float] | None, style: str) -> str:
  return "open" if ci95 is None else ", ".join(format(v, style) for v in ci95)
