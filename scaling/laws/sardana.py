"""Sardana et al., "Beyond Chinchilla-Optimal: Accounting for Inference in Language Model Scaling Laws"
(arXiv:2401.00448).

A model of loss L* that will read D_inf tokens in its life costs

  6 N D + 2 N D_inf   subject to   L(N, D) = L*

FLOPs. With the law of Hoffmann et al. the constraint gives D in closed form,

  D(N) = ( B / (L* - E - A / N^alpha) )^(1 / beta),   N > (A / (L* - E))^(1 / alpha),

which leaves one dimension, ln N. The more inference, the smaller the model and the longer its training.
"""

import dataclasses

import numpy as np

from scaling.laws.hoffmann import Law

TRAIN, INFER = 6.0, 2.0  # FLOPs per parameter and token
REACH = 12.0  # ln N above its lower bound that is searched


@dataclasses.dataclass(frozen=True)
class Plan:
  """`params` N, training `tokens` D; `train_flops` 6 N D and `inference_flops` 2 N D_inf."""

  params: float
  tokens: float
  train_flops: float
  inference_flops: float

  @property
  def flops(self) -> float:
    return self.train_flops + self.inference_flops


def tokens_for(law: Law, loss: float, params):
  """D(N) that reaches `loss`; infinite where no amount of data does."""
  left = loss - law.E - law.A * np.exp(-law.alpha * np.log(params))
  with np.errstate(divide="ignore", invalid="ignore"):
    return np.where(left > 0, (law.B / np.where(left > 0, left, 1.0)) ** (1 / law.beta), np.inf)


def plan(law: Law, loss: float, params: float, inference_tokens: float) -> Plan:
  """What a model of `params` costs."""
  tokens = float(tokens_for(law, loss, params))
  return Plan(params, tokens, TRAIN * params * tokens, INFER * params * inference_tokens)


def optimum(law: Law, loss: float, inference_tokens: float) -> Plan:
  """The cheapest model of `loss` over its life.

  The search narrows a grid in ln N around its best cell until the cell is 1e-9 wide: the cost has one minimum,
  falling from the bound where D is infinite and rising with N. Raises ValueError when `loss` is not above E.
  """
  if not loss > law.E:
    raise ValueError(f"no model reaches {loss}: the irreducible loss is {law.E}")
  least = np.log(law.A / (loss - law.E)) / law.alpha
  low, high = least + 1e-9, least + REACH
  while high - low > 1e-9:
    grid = np.linspace(low, high, 65)
    size = np.exp(grid)
    cost = np.log(size) + np.log(TRAIN * tokens_for(law, loss, size) + INFER * inference_tokens)
    k = int(np.clip(cost.argmin(), 1, len(grid) - 2))
    low, high = grid[k - 1], grid[k + 1]
  return plan(law, loss, float(np.exp((low + high) / 2)), inference_tokens)


def chinchilla(law: Law, params: float) -> tuple[float, float]:
  """(D, L) of the compute-optimal training of `params`: the D for which N is optimal."""
  tokens = (params / law.scale) ** (law.alpha / law.beta) / law.scale
  return tokens, float(law.loss(params, tokens))
