"""What to train: the (N, D) of least loss for a compute budget, and the cheapest one for a loss over a model's life.

With k(N) = C / (N D) counted exactly by the model family (about 6 for large models, more for small ones),

  budget   minimise L(N, D)                   subject to  k(N) N D = C
  life     minimise k(N) N (D + D_inf / 3)    subject to  L(N, D) = L*

The second is Sardana et al. (arXiv:2401.00448), eq. 4, in which k = 6: a token read at inference costs a forward pass,
a third of a token of training. With D_inf = 0 it is the least compute for a loss, the inverse of the first.

Laws may be one or many (draws of a bootstrap): every coefficient a float or an array [draws], and so the answers.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from scaling.advice.family import Family
from scaling.laws import sardana
from scaling.laws.hoffmann import Law

CELLS, FINER, TOLERANCE = 1025, 33, 1e-7  # the search narrows in ln N until a cell is this wide
LANES = 256  # draws at a time: memory


@dataclasses.dataclass(frozen=True)
class Allocation:
  """Attributes, floats or [draws], NaN where a law reaches no such loss: `params` N, `tokens` D, `flops` of training,
  `loss` in nats per token."""

  params: Any
  tokens: Any
  flops: Any
  loss: Any


def for_budget(law: Law, family: Family, flops: Any) -> Allocation:
  """The N, D of least loss at training compute C, a number or one for each draw."""
  coefficients, compute = _columns(law, flops)

  def loss(each: Law, c: Any, log_params: np.ndarray) -> np.ndarray:
    params = np.exp(log_params)
    return each.loss(params, c / (family.flops_per_nd(params) * params))

  params = np.exp(_minimise(loss, coefficients, compute, family))
  tokens = compute[:, 0] / (family.flops_per_nd(params) * params)
  found = coefficients.loss(params[:, None], tokens[:, None])[:, 0]
  return _shaped(law, Allocation(params, tokens, compute[:, 0], found))


def for_loss(law: Law, family: Family, loss: Any, inference_tokens: float) -> Allocation:
  """The N, D that reach `loss` at the least cost of training and of reading `inference_tokens` afterwards."""
  coefficients, wanted = _columns(law, loss)

  def cost(each: Law, aim: Any, log_params: np.ndarray) -> np.ndarray:
    params = np.exp(log_params)
    tokens = sardana.tokens_for(each, aim, params)
    per_token = np.log(family.flops_per_nd(params)) + log_params
    return per_token + np.log(tokens + inference_tokens * sardana.INFER / sardana.TRAIN)

  params = np.exp(_minimise(cost, coefficients, wanted, family))
  tokens = sardana.tokens_for(coefficients, wanted, params[:, None])[:, 0]
  reached = np.isfinite(tokens)
  params, tokens = (np.where(reached, v, np.nan) for v in (params, tokens))
  aims = np.where(reached, wanted[:, 0], np.nan)
  return _shaped(law, Allocation(params, tokens, family.flops_per_nd(params) * params * tokens, aims))


def inference_flops(family: Family, params: Any, inference_tokens: float) -> Any:
  """FLOPs of reading `inference_tokens`: forward passes, a third of training ones."""
  return family.flops_per_nd(params) * params * inference_tokens * sardana.INFER / sardana.TRAIN


def _columns(law: Law, value: Any) -> tuple[Law, Any]:
  """Every coefficient and `value` as [draws, 1]."""
  parts = [np.atleast_1d(np.asarray(getattr(law, f.name), np.float64)) for f in dataclasses.fields(Law)]
  *columns, values = np.broadcast_arrays(*parts, np.atleast_1d(np.asarray(value, np.float64)))
  return Law(*(column[:, None] for column in columns)), values[:, None]


def _shaped(law: Law, found: Allocation) -> Allocation:
  """As many answers as laws were asked for: a float for one."""
  if np.ndim(law.E):
    return found
  return Allocation(*(float(getattr(found, f.name)[0]) for f in dataclasses.fields(Allocation)))


def _minimise(
  cost: Callable[[Law, Any, np.ndarray], np.ndarray], law: Law, value: np.ndarray, family: Family
) -> np.ndarray:
  """ln N [draws] of least `cost`, within the family: a grid, narrowed around its best cell."""
  found = np.empty(len(value))
  first, last = np.log(family.params[[0, -1]])
  for begin in range(0, len(value), LANES):
    some = slice(begin, begin + LANES)
    each = Law(*(getattr(law, f.name)[some] for f in dataclasses.fields(Law)))
    low, high, cells = np.full((len(value[some]), 1), first), np.full((len(value[some]), 1), last), CELLS
    while (high - low).max() > TOLERANCE * cells:
      grid = low + (high - low) * np.linspace(0, 1, cells)
      with np.errstate(invalid="ignore"):
        costs = cost(each, value[some], grid)
      k = np.clip(np.argmin(np.where(np.isnan(costs), np.inf, costs), 1), 1, cells - 2)[:, None]
      low, high = np.take_along_axis(grid, k - 1, 1), np.take_along_axis(grid, k + 1, 1)
      cells = FINER
    found[some] = (low + high)[:, 0] / 2
  return found
