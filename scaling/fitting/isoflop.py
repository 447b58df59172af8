"""Approach 2: IsoFLOP profiles. At each compute budget the least loss over N; then N*(C) ~ C^a.

Hoffmann et al. (arXiv:2203.15556), section 3.2. How the minimum is found changes the exponent by up to 0.03, so the
method is named in every result:

  parabola  of ln L in ln N. Honest near its minimum only: sizes more than six times away from the best one are
            shown but not fitted, unless fewer than four would be left. Averages noise.
  akima     interpolation through the mean of each size (Porian et al., arXiv:2406.19146). Imposes no
            shape; needs profiles that are known well.

Lines through the minima are least squares, or weighted by the inverse variance of each minimum under redrawn noise
("weighted"); no minimum counts as known better than a third of the spacing of its sizes. A budget without an
interior minimum carries a typed refusal and is left out. Known bias: a wide or off-centre window on an asymmetric
profile shifts the intercept of N*(C), even without noise; exponents suffer less.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from scaling.fitting import akima, minima
from scaling.fitting.refusals import Refusal, TooFewRuns
from scaling.table import Runs

SAME_BUDGET = 1.1  # FLOPs within this factor of the smallest belong to one budget
METHODS = {
  "parabola": f"parabola of ln loss in ln N, sizes within {minima.WINDOW:g}x of the best",
  "akima": "Akima interpolation of ln loss over ln N",
}
FLOOR = 0.33  # of the spacing in ln N: least standard deviation of a minimum (Porian et al.)
Noise = float | Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Profile:
  """One budget.

  Attributes:
    flops: C, geometric mean over its runs.
    runs: the budget's runs.
    fitted: bool [R], which of them the curve is made from.
    curve: (ln L at the minimum, curvature, ln N at the minimum): ln L = c0 + c2 (ln N - x)^2, for the method
      "akima" through its neighbourhood only; NaN without one.
    params, tokens, loss: N*, D*, L* at the minimum, NaN without one.
    refusal: why this is no interior minimum; None when it is.
    residuals: ln measured - ln curve of the fitted runs.
    draws: ln N*, ln D*, ln L*, each [draws], under redrawn noise.
    spacing: mean of ln N between neighbouring sizes.
  """

  flops: float
  runs: Runs
  fitted: np.ndarray
  curve: tuple[float, float, float]
  params: float
  tokens: float
  loss: float
  refusal: Refusal | None
  residuals: np.ndarray
  draws: np.ndarray
  spacing: float

  @property
  def edge(self) -> str:
    """The refusal's finding; empty when the minimum is interior."""
    return "" if self.refusal is None else self.refusal.what


@dataclasses.dataclass(frozen=True)
class PowerLaw:
  """value = exp(intercept) C^exponent; `draws` [2, draws] of (exponent, intercept)."""

  exponent: float
  intercept: float
  draws: np.ndarray

  def __call__(self, flops):
    return np.exp(self.intercept + self.exponent * np.log(flops))

  def spread(self, flops: float) -> np.ndarray:
    """Value at C under every draw."""
    return np.exp(self.draws[1] + self.draws[0] * np.log(flops))


@dataclasses.dataclass(frozen=True)
class IsoFlop:
  """`params`, `tokens`, `loss`: N*(C), D*(C), L*(C), None with fewer than two interior minima.

  noise: pooled standard deviation of ln L around the parabolas; NaN without a degree of freedom.
  method, line: how minima were found and the lines drawn.
  """

  profiles: tuple[Profile, ...]
  params: PowerLaw | None
  tokens: PowerLaw | None
  loss: PowerLaw | None
  noise: float
  method: str
  line: str

  @property
  def interior(self) -> list[Profile]:
    return [profile for profile in self.profiles if profile.refusal is None]

  @property
  def refusals(self) -> tuple[Refusal, ...]:
    return tuple(profile.refusal for profile in self.profiles if profile.refusal is not None)


def budgets(flops: np.ndarray) -> np.ndarray:
  """int [R]: index of each run's budget, budgets ascending."""
  order = np.argsort(flops)
  index, first = np.empty(len(flops), int), None
  count = -1
  for i in order:
    if first is None or flops[i] > SAME_BUDGET * first:
      first, count = flops[i], count + 1
    index[i] = count
  return index


def fit(
  runs: Runs, draws: int, seed: int, method: str = "parabola", line: str = "ols", noise: Noise | None = None
) -> IsoFlop:
  """Profiles and power laws of a run table, with `draws` noise bootstraps.

  noise: standard deviation of ln L, or a function from losses to it; None takes what is left around the parabolas.
  """
  index = budgets(runs.flops)
  groups = [runs.where(index == k) for k in range(index.max() + 1)]
  around = [_profile(group, 0.0, 0, seed, "parabola").residuals for group in groups]
  freedom = sum(max(len(r) - 3, 0) for r in around)
  pooled = float(np.sqrt(sum(np.square(r).sum() for r in around) / freedom)) if freedom else float("nan")
  noise = (pooled if freedom else 0.0) if noise is None else noise
  profiles = tuple(_profile(group, noise, draws, seed + k, method) for k, group in enumerate(groups))
  interior = [p for p in profiles if p.refusal is None]
  laws: list[PowerLaw | None] = [None, None, None]
  if len(interior) >= 2:
    compute = np.array([p.flops for p in interior])
    values = np.array([[p.params, p.tokens, p.loss] for p in interior]).T
    spread = np.stack([p.draws for p in interior], 1)  # [3, budgets, draws]
    sds = np.full(values.shape, np.nan)
    if line == "weighted":
      sds = np.nanstd(spread, -1)
      sds[:2] = np.maximum(sds[:2], FLOOR * np.array([p.spacing for p in interior]))
    weighted = line == "weighted"
    laws = [
      power_law(compute, value, drawn, sd if weighted else None)
      for value, drawn, sd in zip(values, spread, sds, strict=True)
    ]
  return IsoFlop(profiles, laws[0], laws[1], laws[2], pooled, method, line)


def power_law(
  flops: np.ndarray, values: np.ndarray, log_draws: np.ndarray, sd: np.ndarray | None = None
) -> PowerLaw:
  """Least squares of ln value on ln C, weighted by 1 / sd^2 (of ln value) when given.

  log_draws: [budgets, draws], for the draws of the line; as with the data, a budget whose minimum a draw moved to the
  edge (NaN) is left out of that draw's line.
  """
  x = np.log(flops)
  exponent, intercept = np.polyfit(x, np.log(values), 1, w=None if sd is None else 1 / sd)
  weight = (np.ones(len(x)) if sd is None else sd**-2.0)[:, None] * np.isfinite(log_draws)
  y = np.nan_to_num(log_draws)
  total = np.where(np.count_nonzero(weight, axis=0) >= 2, weight.sum(0), np.nan)
  middle, mean = (weight * x[:, None]).sum(0) / total, (weight * y).sum(0) / total
  away = x[:, None] - middle
  slope = (weight * away * (y - mean)).sum(0) / (weight * away**2).sum(0)
  return PowerLaw(float(exponent), float(intercept), np.stack([slope, mean - slope * middle]))


def _profile(runs: Runs, noise: Noise, draws: int, seed: int, method: str) -> Profile:
  x, y = np.log(runs.params), np.log(runs.loss)
  sizes = np.unique(x)
  flops = float(np.exp(np.log(runs.flops).mean()))
  where, nan = f"the budget of {flops:.3g} FLOPs", float("nan")
  spacing = float(np.diff(sizes).mean()) if len(sizes) > 1 else nan
  if len(sizes) < akima.LEAST_POINTS:
    refusal = TooFewRuns(f"{len(sizes)} sizes make no parabola", where, "add sizes around the best one")
    every, none = np.ones(len(x), bool), np.full((3, draws), nan)
    return Profile(flops, runs, every, (nan,) * 3, nan, nan, nan, refusal, np.empty(0), none, spacing)
  sd = noise(runs.loss) if callable(noise) else np.full(len(x), noise)
  found = minima.METHODS[method](x, y, sd, draws, seed, where)
  slope, offset = np.polyfit(x, np.log(runs.tokens), 1)  # ln D along the budget, from the real FLOPs
  curve = (found.lowest, found.curvature, found.at) if found.curvature > 0 else (nan, found.curvature, nan)
  params, tokens, loss = (float(np.exp(v)) for v in (curve[2], offset + slope * curve[2], curve[0]))
  drawn = np.stack([found.draws[0], offset + slope * found.draws[0], found.draws[1]])
  return Profile(
    flops, runs, found.fitted, curve, params, tokens, loss, found.refusal, found.residuals, drawn, spacing
  )
