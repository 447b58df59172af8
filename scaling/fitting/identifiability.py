"""Whether a table can settle a law of N and D at all: what it covers, and how sharply the objective curves.

Coefficients that a table does not settle are still printed by every fit, to all digits; what is refused here is to
quote them. Coverage is judged in ln N and ln D, where the law's terms are straight lines.
"""

import dataclasses

import numpy as np

from scaling.fitting.refusals import (
  AtBound,
  IllConditioned,
  NoFloor,
  OneLine,
  OneRay,
  Refusal,
  SingleData,
  SingleSize,
  TooFewRuns,
)

ALIKE = 0.05  # standard deviation in ln below which N or D counts as one value
ACROSS = 0.1  # standard deviation in ln across the main line below which N and D vary together
ILL_CONDITIONED = 1e6  # of the Hessian with unit diagonal
NO_FLOOR = 7.0  # ln of the lowest loss over E: a thousandth
LEAST_VALUES = 3  # sizes, and amounts of data: two leave a term and the floor to trade off


@dataclasses.dataclass(frozen=True)
class Coverage:
  """Attributes: `runs`, distinct `sizes` and `amounts` of data; decades spanned by N, D and D / N; `across`, the
  standard deviation across the main line of (ln N, ln D), and that line's `slope`, d ln D / d ln N."""

  runs: int
  sizes: int
  amounts: int
  params_decades: float
  tokens_decades: float
  ratio_decades: float
  across: float
  slope: float


def coverage(params: np.ndarray, tokens: np.ndarray) -> Coverage:
  """What R runs cover."""
  n, d = np.log(params), np.log(tokens)
  values, vectors = np.linalg.eigh(np.cov(n, d)) if len(n) > 1 else (np.zeros(2), np.eye(2))
  along = vectors[:, 1]
  slope = float(along[1] / along[0]) if abs(along[0]) > 1e-12 else float("inf")
  n_span, d_span, ratio_span = (float(np.ptp(v) / np.log(10)) for v in (n, d, d - n))
  across = float(np.sqrt(max(values[0], 0.0)))
  sizes, amounts = (len(np.unique(np.round(v, 9))) for v in (n, d))
  return Coverage(len(n), sizes, amounts, n_span, d_span, ratio_span, across, slope)


def of_table(params: np.ndarray, tokens: np.ndarray, coefficients: int, where: str) -> list[Refusal]:
  """What the table alone rules out, whatever the losses."""
  seen = coverage(params, tokens)
  n, d = np.log(params), np.log(tokens)
  wider = "add runs that vary tokens at equal parameters, as IsoFLOP profiles of several budgets do"
  found: list[Refusal] = []
  if seen.runs <= coefficients:
    found.append(TooFewRuns(f"{seen.runs} runs cannot settle {coefficients} coefficients", where, wider))
  if n.std() < ALIKE:
    found.append(SingleSize("all runs have one N: A and alpha cannot be told from E", where, "add sizes"))
  elif seen.sizes < LEAST_VALUES:
    found.append(TooFewRuns(f"{seen.sizes} sizes leave A, alpha and E to trade off", where, "add sizes"))
  if d.std() < ALIKE:
    what = "all runs have one D: B and beta cannot be told from E"
    found.append(SingleData(what, where, "add runs with other amounts of data"))
  elif seen.amounts < LEAST_VALUES:
    what = f"{seen.amounts} amounts of data leave B, beta and E to trade off"
    found.append(TooFewRuns(what, where, "add runs with other amounts of data"))
  if not found and (d - n).std() < ACROSS:
    ratio = np.exp((d - n).mean())
    what = f"all runs have {ratio:.3g} tokens per parameter: N and D vary along one line"
    found.append(OneRay(f"{what}, alpha and beta cannot be told apart", where, wider))
  elif not found and seen.across < ACROSS:
    what = f"N and D vary together, along one line of slope {seen.slope:.2g}"
    found.append(OneLine(f"{what}: alpha and beta cannot be told apart", where, wider))
  return found


def of_fit(
  floor: float, lowest_loss: float, exponents: dict[str, float], bounds: tuple[float, float], condition: float,
  where: str,
) -> list[Refusal]:  # fmt: skip
  """What the fitted coefficients show."""
  found: list[Refusal] = []
  if condition > ILL_CONDITIONED:
    what = f"the coefficients trade off against each other (condition {condition:.1e}): not identifiable"
    found.append(IllConditioned(what, where, "widen the range of N and D, or quote predictions only"))
  if floor < lowest_loss * np.exp(-NO_FLOOR):
    what = "E is at 0: the table does not reach far enough to show the irreducible loss"
    found.append(NoFloor(what, where, "add larger runs, or quote predictions inside the table only"))
  for name, value in exponents.items():
    if not bounds[0] * 1.001 < value < bounds[1] * 0.999:
      found.append(AtBound(f"{name} is at its bound, {value:.3g}", where, "look for runs that went wrong"))
  return found


def condition(jacobian: np.ndarray, weights: np.ndarray | None = None) -> float:
  """Condition number of the Gauss-Newton Hessian J^T W J with unit diagonal; J [R, P], in any units."""
  weighted = jacobian if weights is None else jacobian * np.sqrt(weights)[:, None]
  columns = weighted / np.maximum(np.linalg.norm(weighted, axis=0), 1e-300)
  return float(np.linalg.cond(columns) ** 2)
