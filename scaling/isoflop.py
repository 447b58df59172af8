"""Approach 2: IsoFLOP profiles. At each compute budget a parabola through ln L over ln N; then N*(C) ~ C^a.

Hoffmann et al. (arXiv:2203.15556), section 3.2. A parabola is honest near its minimum only: sizes more than
`WINDOW` times away from the best one are shown but not fitted (as in Porian et al., arXiv:2406.19146), unless
fewer than four would be left. A budget whose minimum lies on the edge of its sizes says so and is left out
of the power laws. Known bias: a wide or off-centre window on an asymmetric profile shifts the intercept of
N*(C), even without noise; exponents suffer less.
"""

import dataclasses

import numpy as np

from scaling import bootstrap
from scaling.table import Runs

SAME_BUDGET = 1.1  # FLOPs within this factor of the smallest belong to one budget
WINDOW = 6.0
LEAST_SIZES = 4
METHOD = f"parabola of ln loss in ln N, sizes within {WINDOW:g}x of the best"


@dataclasses.dataclass(frozen=True)
class Profile:
  """One budget.

  Attributes:
    flops: C, geometric mean over its runs.
    runs: the budget's runs.
    fitted: bool [R], which of them the parabola goes through.
    curve: (ln L at the minimum, curvature, ln N at the minimum): ln L = c0 + c2 (ln N - x)^2; NaN without one.
    params, tokens, loss: N*, D*, L* at the minimum, NaN without one.
    edge: why this is no interior minimum; empty when it is.
    residuals: ln measured - ln parabola of the fitted runs.
    draws: ln N*, ln D*, ln L*, each [draws], under redrawn noise.
  """

  flops: float
  runs: Runs
  fitted: np.ndarray
  curve: tuple[float, float, float]
  params: float
  tokens: float
  loss: float
  edge: str
  residuals: np.ndarray
  draws: np.ndarray


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
  """

  profiles: tuple[Profile, ...]
  params: PowerLaw | None
  tokens: PowerLaw | None
  loss: PowerLaw | None
  noise: float

  @property
  def interior(self) -> list[Profile]:
    return [profile for profile in self.profiles if not profile.edge]


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


def fit(runs: Runs, draws: int, seed: int) -> IsoFlop:
  """Profiles and power laws of a run table, with `draws` noise bootstraps."""
  index = budgets(runs.flops)
  groups = [runs.where(index == k) for k in range(index.max() + 1)]
  bare = [_profile(group, 0.0, 0, seed) for group in groups]
  squares = sum(float(np.square(p.residuals).sum()) for p in bare)
  freedom = sum(max(len(p.residuals) - 3, 0) for p in bare)
  noise = float(np.sqrt(squares / freedom)) if freedom else float("nan")
  sd = noise if freedom else 0.0
  profiles = tuple(_profile(group, sd, draws, seed + k) for k, group in enumerate(groups))
  interior = [p for p in profiles if not p.edge]
  params = tokens = loss = None
  if len(interior) >= 2:
    compute = np.array([p.flops for p in interior])
    values = (
      np.array([p.params for p in interior]),
      np.array([p.tokens for p in interior]),
      np.array([p.loss for p in interior]),
    )
    spread = np.stack([p.draws for p in interior], 1)  # [3, budgets, draws]
    laws = (power_law(compute, value, drawn) for value, drawn in zip(values, spread, strict=True))
    params, tokens, loss = laws
  return IsoFlop(profiles, params, tokens, loss, noise)


def power_law(flops: np.ndarray, values: np.ndarray, log_draws: np.ndarray) -> PowerLaw:
  """Least squares of ln value on ln C; `log_draws` [budgets, draws] give the draws of the line."""
  exponent, intercept = np.polyfit(np.log(flops), np.log(values), 1)
  return PowerLaw(float(exponent), float(intercept), np.polyfit(np.log(flops), log_draws, 1))


def _profile(runs: Runs, sd: float, draws: int, seed: int) -> Profile:
  x, y = np.log(runs.params), np.log(runs.loss)
  sizes, which = np.unique(runs.params, return_inverse=True)
  mean_loss = np.array([runs.loss[which == i].mean() for i in range(len(sizes))])
  best = int(mean_loss.argmin())
  distance = np.abs(np.log(sizes / sizes[best]))
  near = (distance <= np.log(WINDOW)) | (distance <= np.sort(distance)[:LEAST_SIZES][-1])
  fitted = near[which]
  flops = float(np.exp(np.log(runs.flops).mean()))
  nan = float("nan")
  if len(sizes) < 3:
    empty = np.full((3, draws), nan)
    edge = f"{len(sizes)} sizes make no parabola"
    return Profile(flops, runs, fitted, (nan, nan, nan), nan, nan, nan, edge, np.empty(0), empty)
  centre = x[fitted].mean()
  design = np.vander(x[fitted] - centre, 3)
  solve = np.linalg.pinv(design)
  coefficients = solve @ y[fitted]
  residuals = y[fitted] - design @ coefficients
  slope, offset = np.polyfit(x, np.log(runs.tokens), 1)  # ln D along the budget, from the real FLOPs

  def minimum(c2, c1, c0):
    at = centre - c1 / (2 * c2)
    return at, offset + slope * at, c0 - c1**2 / (4 * c2)

  ln_params, ln_tokens, ln_loss = minimum(*coefficients)
  redrawn = solve @ bootstrap.noisy(design @ coefficients, sd, draws, seed).T
  bad = redrawn[0] <= 0
  with np.errstate(divide="ignore", invalid="ignore"):
    spread = np.where(bad, nan, np.stack(minimum(*redrawn)))
  edge = ""
  if best in (0, len(sizes) - 1):
    edge = f"the best size is the {'smallest' if best == 0 else 'largest'}"
  elif coefficients[0] <= 0:
    edge = "the profile is not convex"
  elif not x.min() < ln_params < x.max():
    edge = "the parabola's minimum lies outside the sizes"
  if coefficients[0] <= 0:
    ln_params = ln_tokens = ln_loss = nan
  curve = (float(ln_loss), float(coefficients[0]), float(ln_params))
  params, tokens, loss = (float(np.exp(v)) for v in (ln_params, ln_tokens, ln_loss))
  return Profile(flops, runs, fitted, curve, params, tokens, loss, edge, residuals, spread)
