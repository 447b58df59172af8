"""Where compute is best spent: N*, D* and the least loss at a C, by each approach, with intervals.

The parametric law is asked with the table's own count of FLOPs: C / (N D) falls from over ten to six as models grow,
which moves the optimum of small ones.
"""

import dataclasses
from typing import Any

import numpy as np

from scaling.fitting import bootstrap
from scaling.fitting.bootstrap import Resampling
from scaling.fitting.isoflop import IsoFlop
from scaling.laws.hoffmann import Law
from scaling.table import Runs

NAMES = ("params", "tokens", "loss")
MARGIN = 5.0, 10.0  # below and above the table's sizes that are searched, in ln N
CELLS = 400  # of each of the two passes of the search: the second ends at 1e-4 in ln N


@dataclasses.dataclass(frozen=True)
class Optimum:
  """Attributes: `flops` C; `params` N*, `tokens` D*, least `loss`, and `ci95` of each by name, None without draws."""

  flops: float
  params: float
  tokens: float
  loss: float
  ci95: dict[str, list[float] | None]

  def as_json(self) -> dict[str, Any]:
    return {name: getattr(self, name) for name in NAMES} | {"ci95": self.ci95}


def flops_per_nd(runs: Runs, params: np.ndarray | float) -> np.ndarray:
  """C / (N D) at a size, interpolated in ln N between the table's sizes; constant beyond them."""
  order = np.argsort(runs.params)
  ratio = np.log(runs.flops / (runs.params * runs.tokens))
  return np.exp(np.interp(np.log(params), np.log(runs.params)[order], ratio[order]))


def parametric(law: Law, runs: Runs, flops: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """N*, D*, L* [draws] of a law or of draws of it, by searching N twice, the second time around the first's best."""
  each = Law(*(np.atleast_1d(getattr(law, f.name))[:, None] for f in dataclasses.fields(Law)))
  ends = np.log(runs.params.min()) - MARGIN[0], np.log(runs.params.max()) + MARGIN[1]
  size = np.linspace(*ends, CELLS + 1)[None]
  cell = size[0, 1] - size[0, 0]
  for again in (True, False):
    params = np.exp(size)
    tokens = flops / (flops_per_nd(runs, params) * params)
    loss = each.loss(params, tokens)
    best = np.argmin(loss, 1)[:, None]
    if again:
      centre = np.take_along_axis(np.broadcast_to(size, loss.shape), best, 1)
      size = centre + np.linspace(-cell, cell, CELLS + 1)
  params, tokens, loss = (np.take_along_axis(values, best, 1)[:, 0] for values in (params, tokens, loss))
  return params, tokens, loss


def by_law(law: Law, draws: Law | None, runs: Runs, flops: float, resampling: Resampling) -> Optimum:
  """Approach 3."""
  at = params, tokens, loss = tuple(float(v[0]) for v in parametric(law, runs, flops))
  drawn = None if draws is None else parametric(draws, runs, flops)
  ci95 = {
    name: None if drawn is None else resampling.interval(drawn[k], at[k]) for k, name in enumerate(NAMES)
  }
  return Optimum(flops, params, tokens, loss, ci95)


def by_profiles(iso: IsoFlop, flops: float) -> Optimum | None:
  """Approach 2; None without a line through two minima."""
  if iso.params is None or iso.tokens is None or iso.loss is None:
    return None
  lines = dict(zip(NAMES, (iso.params, iso.tokens, iso.loss), strict=True))
  ci95 = {name: bootstrap.interval(line.spread(flops)) for name, line in lines.items()}
  params, tokens, loss = (float(line(flops)) for line in lines.values())
  return Optimum(flops, params, tokens, loss, ci95)
