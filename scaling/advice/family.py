"""Models that differ by width alone, as a config file offers them: what each counts, and a run of it.

A config file that can be designed or prescribed for has `family()`, which returns a module (or anything else) with

  widths() -> iterator          every width, ascending
  model(width) -> MotionConfig  or any config with non_embedding_params() and flops_per_token()
  point(width, flops, seed)     overrides of the config for a run that spends `flops`, "tokens" among them
"""

import dataclasses
import runpy
from collections.abc import Callable
from typing import Any

import numpy as np

from data.errors import BadInput

LARGEST = 1e14  # parameters; larger models are nobody's


@dataclasses.dataclass(frozen=True)
class Family:
  """Attributes: `widths` [W], ascending; `params` N without embeddings and training `flops_per_token` of each, float64;
  `point` makes the overrides of a run from (width, flops, seed)."""

  widths: np.ndarray
  params: np.ndarray
  flops_per_token: np.ndarray
  point: Callable[[int, float, int], dict[str, Any]]

  def flops_per_nd(self, params) -> Any:
    """C / (N D) at any N, between widths interpolated in logarithms; 6 and less than a hundredth beyond the last."""
    ratio = np.log(self.flops_per_token / self.params)
    return np.exp(np.interp(np.log(params), np.log(self.params), ratio))

  def around(self, params: float) -> list[int]:
    """Indices of the widths that bracket N: two, or one at the end of the family or when it meets N."""
    above = int(np.searchsorted(self.params, params * (1 - 1e-12)))
    if above == len(self.params):
      return [above - 1]
    if above == 0 or self.params[above] <= params * (1 + 1e-12):
      return [above]
    return [above - 1, above]


def load(config_file: str) -> Family:
  """The family of a config file; raises BadInput when it has none."""
  space = runpy.run_path(config_file)
  if "family" not in space:
    remedy = "add family(), or take a config that has one, such as experiments/configs/motion.py"
    raise BadInput("has no family(): nothing says which models it can be", config_file, remedy)
  return of(space["family"]())


def of(maker: Any) -> Family:
  """The family that `maker` describes (see above), up to LARGEST parameters."""
  widths, params, flops = [], [], []
  for width in maker.widths():
    model = maker.model(width)
    widths.append(width)
    params.append(model.non_embedding_params())
    flops.append(model.flops_per_token())
    if params[-1] > LARGEST:
      break
  return Family(np.array(widths), np.array(params, np.float64), np.array(flops, np.float64), maker.point)
