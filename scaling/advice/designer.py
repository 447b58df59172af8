"""The ladder that settles a law best for a given compute: IsoFLOP profiles centred on the expected optimum.

Every candidate spends the same compute: geometric budgets, in each the sizes of a model family spread evenly in ln N
about N*(C), each run in one or several seeds. SIDE sizes at least lie on either side of N*, so that each profile shows
its minimum to an eye and to Approach 2 as well, and they reach no further than its parabolas are honest
(`profile_bias.py`). Among these the design is taken whose expected covariance (`information.py`) is least, by one
criterion:

  loss         variance of ln L at the optimum of the target compute (c-optimal)
  exponents    variance of alpha plus that of beta (A-optimal)
  determinant  volume of the ellipsoid of all five coefficients (D-optimal)

on average, in logarithms, over what the earlier fit holds possible: the best design depends on the law it looks for.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from data.errors import BadInput
from scaling.advice import allocation, information, profile_bias
from scaling.advice.family import Family
from scaling.advice.fitted import Fitted
from scaling.fitting import identifiability, minima
from scaling.laws.hoffmann import Law

CRITERIA = ("loss", "exponents", "determinant")
BUDGETS = (4, 5, 6, 7)  # three would leave the line through their minima next to nothing to err by
RATIOS = (1.8, 2.2, 2.7, 3.3, 4.0, 5.0, 6.3, 8.0, 10.0)
SPREADS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, minima.WINDOW)
SIZES, SEEDS = (5, 6, 7, 9), (1, 2, 3)
SIDE = 2  # sizes at least on either side of N*
INSIDE = 0.9  # share of the prior's draws that must have N* inside the sizes of every budget
BIAS = 0.1  # of ln N* at the target by the profiles of a table without noise
DRAWS = 16  # of an earlier fit, over which a criterion is averaged
TABLE = "the design"


@dataclasses.dataclass(frozen=True)
class Prior:
  """What is expected before the design: `law`, and `draws` [K] of it (one, when nothing is known of its error);
  `noise`, the standard deviation of ln L between runs that differ by chance; `source`, one clause."""

  law: Law
  draws: Law
  noise: float
  source: str


def from_fit(fit: Fitted, noise: float | None) -> Prior:
  """What an earlier fit expects, and a few of its draws; `noise` in the place of its own.

  Raises BadInput when neither says how runs scatter.
  """
  if noise is None and not fit.noise > 0:
    what = "does not tell how runs scatter: its profiles leave nothing over"
    raise BadInput(what, fit.path, "say it: --noise_sd=0.005 is half a percent of the loss")
  names = [f.name for f in dataclasses.fields(Law)]
  spread = np.linspace(0, len(fit.draws.E) - 1, min(DRAWS, len(fit.draws.E))).astype(int)
  draws = Law(*(getattr(fit.draws, name)[spread] for name in names))
  return Prior(
    fit.law, draws, fit.noise if noise is None else noise, f"{fit.path.name} of {fit.about['n_runs']} runs"
  )


def from_guess(coefficients: Sequence[float], noise: float) -> Prior:
  """A law that is taken for granted: E, A, B, alpha, beta."""
  law = Law(*map(float, coefficients))
  return Prior(law, Law(*(np.array([value]) for value in coefficients)), noise, "as given")


@dataclasses.dataclass(frozen=True)
class Limits:
  """Attributes: `flops` to spend in all; `smallest` budget in FLOPs; the `tokens` of the dataset that no run may
  exceed, or None; `target` compute whose loss is to be predicted."""

  flops: float
  smallest: float
  tokens: float | None
  target: float


@dataclasses.dataclass(frozen=True)
class Design:
  """Attributes: `budgets` C [G]; `centres` N*(C) [G]; of each run `budget` (index), `width`, `params` N, `tokens` D,
  `seed`, all [R]; `spread`: sizes reach N* times and over this factor; `inside`: least share of draws with N* inside
  the sizes of a budget."""

  budgets: np.ndarray
  centres: np.ndarray
  budget: np.ndarray
  width: np.ndarray
  params: np.ndarray
  tokens: np.ndarray
  seed: np.ndarray
  spread: float
  inside: float

  @property
  def flops(self) -> np.ndarray:
    """C of each run [R]."""
    return self.budgets[self.budget]


def profiles(
  family: Family, budgets: np.ndarray, centres: np.ndarray, sizes: int, spread: float, seeds: int
) -> Design | None:
  """The sizes of the family nearest to an even spread in ln N about `centres`; None when a budget has too few.

  Widths are few where models are small: a budget may get fewer sizes than asked for, and at least 2 SIDE + 1.
  """
  log_sizes = np.log(family.params)
  which, chosen = [], []
  for k, centre in enumerate(centres):
    wanted = np.log(centre) + np.linspace(-1, 1, sizes) * np.log(spread)
    above = np.clip(np.searchsorted(log_sizes, wanted), 1, len(log_sizes) - 1)
    index = np.unique(above - (wanted - log_sizes[above - 1] < log_sizes[above] - wanted))
    if len(index) < 2 * SIDE + 1:
      return None
    which += [k] * len(index)
    chosen += index.tolist()
  budget, at = (np.repeat(np.array(v), seeds) for v in (which, chosen))
  return Design(
    budgets, centres, budget, family.widths[at], family.params[at], budgets[budget] / family.flops_per_token[at],
    np.tile(np.arange(seeds), len(chosen)), spread, 1.0,
  )  # fmt: skip


def candidates(family: Family, prior: Prior, limits: Limits) -> list[Design]:
  """Every design that keeps to the limits; all cost `limits.flops`."""
  grid = np.geomspace(limits.smallest, limits.flops, 129)  # N*(C) is a straight line to the eye: interpolated
  expected = np.log([allocation.for_budget(prior.law, family, c).params for c in grid])
  drawn = np.log([allocation.for_budget(prior.draws, family, c).params for c in grid])  # [129, K]
  made = []
  for count, ratio, sizes, spread, seeds in itertools.product(BUDGETS, RATIOS, SIZES, SPREADS, SEEDS):
    shape = ratio ** -np.arange(count)[::-1]
    budgets = limits.flops / (seeds * sizes * shape.sum()) * shape
    if budgets[0] < limits.smallest:
      continue
    centres = np.exp(np.interp(np.log(budgets), np.log(grid), expected))
    design = profiles(family, budgets, centres, sizes, spread, seeds)
    if design is None:
      continue
    more = limits.flops / design.flops.sum()  # where widths were too few for all sizes
    centres = np.exp(np.interp(np.log(budgets * more), np.log(grid), expected))
    design = dataclasses.replace(design, budgets=budgets * more, centres=centres, tokens=design.tokens * more)
    if limits.tokens is not None and design.tokens.max() > limits.tokens:
      continue
    inside = _inside(design, np.log(grid), drawn)
    if _sides(design) >= SIDE and inside >= INSIDE:
      made.append(dataclasses.replace(design, inside=inside))
  return made


def _sides(design: Design) -> int:
  """Sizes on the poorer side of N*, in the poorest budget."""
  found = []
  for k, centre in enumerate(design.centres):
    own = np.unique(design.params[design.budget == k])
    found.append(min((own < centre).sum(), (own > centre).sum()))
  return min(found)


def _inside(design: Design, log_flops: np.ndarray, drawn: np.ndarray) -> float:
  """The least share, over budgets, of draws whose N* lies between the smallest and the largest size."""
  shares = []
  for k, budget in enumerate(design.budgets):
    own = np.log(design.params[design.budget == k])
    at = np.clip(np.searchsorted(log_flops, np.log(budget)), 0, len(log_flops) - 1)
    shares.append(float(np.mean((drawn[at] > own.min()) & (drawn[at] < own.max()))))
  return min(shares)


def scores(designs: list[Design], family: Family, prior: Prior, criterion: str, target: float) -> np.ndarray:
  """Mean of ln variance [K] over the prior's draws, noise of one; infinite where nothing is settled."""
  params, tokens = (np.concatenate([getattr(d, n) for d in designs]) for n in ("params", "tokens"))
  starts = np.cumsum([0, *(len(d.params) for d in designs[:-1])])
  middle = float(np.log(params).mean()), float(np.log(tokens).mean())
  sums = []
  for i in range(len(prior.draws.E)):
    law = Law(*(float(getattr(prior.draws, f.name)[i]) for f in dataclasses.fields(Law)))
    rows = information.jacobian(law, params, tokens, middle)
    inverse = information.inverses(np.add.reduceat(rows[:, :, None] * rows[:, None, :], starts, axis=0))
    if criterion == "determinant":
      sums.append(np.linalg.slogdet(inverse)[1])
    elif criterion == "exponents":
      sums.append(np.log(inverse[:, 3, 3] + inverse[:, 4, 4]))
    else:
      at = allocation.for_budget(law, family, target)
      row = information.jacobian(law, np.array([at.params]), np.array([at.tokens]), middle)[0]
      sums.append(np.log(np.einsum("i,kij,j->k", row, inverse, row)))
  return np.nan_to_num(np.mean(sums, 0), nan=np.inf)


def best(family: Family, prior: Prior, limits: Limits, criterion: str) -> tuple[Design, int]:
  """The best design, and among how many; the least biased one where none keeps to BIAS.

  Raises BadInput when the limits leave none.
  """
  designs = candidates(family, prior, limits)
  least: tuple[float, Design | None] = (np.inf, None)
  for k in np.argsort(scores(designs, family, prior, criterion, limits.target)) if designs else ():
    design = designs[k]
    if identifiability.of_table(design.params, design.tokens, 5, TABLE):
      continue
    off = abs(profile_bias.of(family, prior.law, design.params, design.tokens, limits.target))
    if off <= BIAS:
      return design, len(designs)
    if off < least[0]:
      least = off, design
  if least[1] is not None:
    return least[1], len(designs)
  ladder = (
    f"{min(BUDGETS)} budgets from {limits.smallest:.3g} FLOPs on and {2 * SIDE + 1} sizes around the optimum"
  )
  what = f"no ladder of {ladder} costs {limits.flops:.3g} FLOPs"
  if limits.tokens is not None:
    what += f" with at most {limits.tokens:.3g} tokens a run"
  remedy = "spend more, allow a smaller --smallest_budget, or build more data"
  raise BadInput(what, "--budget_flops", remedy)
