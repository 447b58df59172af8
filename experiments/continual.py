"""Runs that follow one another: the new one must not have lost what the old one could.

What it trains on is said by `data.mixture` (old records among the new ones, data/mixtures.py); whether it may follow
is judged here, on one split of the new run's dataset.
"""

from collections.abc import Mapping

import numpy as np

from data.errors import BadInput
from data.slices import members
from evaluation import gates
from experiments.per_record import labels, losses
from experiments.run import open_run

_SEED = 0


def compare(
  run: str, before: str, allowed: Mapping[str, float], split: str, confidence: float
) -> dict[str, gates.Verdict]:
  """The verdict of every slice; args: slice (data/slices.py) to how much worse it may be.

  Raises BadInput for a slice that is not there, and runs whose losses are not of one kind.
  """
  new = open_run(run)
  old = open_run(before, dataset=str(new.dataset.path))
  if (new.config.family, new.dataset.config.kind) != (old.config.family, old.dataset.config.kind):
    what = f"the one is of family {new.config.family}, the other of {old.config.family}"
    raise BadInput(what, f"{run}, {before}", "compare runs of one family")
  known, names = labels(new.dataset, split), {"domain": new.dataset.domains}
  parts: dict[str, tuple[np.ndarray, float]] = {
    text: (members(text, known, names), much) for text, much in allowed.items()
  }
  return gates.judge(losses(old, split), losses(new, split), parts, confidence, _SEED)
