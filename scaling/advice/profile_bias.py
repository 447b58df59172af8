"""What Approach 2 gets wrong of a law without any noise: its parabolas are honest near their minimum only.

Where alpha and beta differ, profiles are lopsided, and the wider or the further off centre their sizes lie, the
further the parabola's minimum is from N*. A design can know this before a run is made.
"""

import numpy as np

from scaling.advice import allocation
from scaling.advice.family import Family
from scaling.fitting import isoflop
from scaling.laws.hoffmann import Law
from scaling.table import Runs


def of(family: Family, law: Law, params: np.ndarray, tokens: np.ndarray, flops: float) -> float:
  """ln of N*(C) by the profiles of a table without noise over that of the law, at C = `flops`; NaN without a line.

  Args:
    params, tokens: [R], the table's runs.
  """
  compute = family.flops_per_nd(params) * params * tokens
  rows = tuple({"run_id": str(i)} for i in range(len(params)))
  line = isoflop.fit(Runs(params, tokens, compute, law.loss(params, tokens), rows, ""), 0, 0).params
  if line is None:
    return float("nan")
  return float(np.log(line(flops) / allocation.for_budget(law, family, flops).params))
