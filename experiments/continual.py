"""Runs that follow one another: the new one must not have lost what the old one could.

What it trains on is said by `data.mixture` (old records among the new ones, data/mixtures.py); whether it may follow
is judged here, on one split of the new run's dataset.
"""

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from data.errors import BadInput
from data.slices import members
from evaluation import gates
from experiments.config import Train
from experiments.per_record import labels, losses
from experiments.run import open_run

_SEED = 0


def compare(
  run: str,
  before: str,
  allowed: Mapping[str, float],
  split: str,
  confidence: float,
  canaries: Collection[str] = (),
) -> dict[str, gates.Verdict]:
  """The verdict of every slice; allowed: slice (data/slices.py) to how much worse it may be; canaries: those of them
  that must be shown not to be worse (evaluation/gates.py).

  Raises BadInput for a slice that is not there, and runs whose losses are not of one kind.
  """
  new = open_run(run)
  old = open_run(before, dataset=str(new.dataset.path))
  one, other = _loss(new.config), _loss(old.config)
  for name in (name for name in one | other if one.get(name) != other.get(name)):
    what = f"{name} is {one.get(name)!r} of the one, {other.get(name)!r} of the other"
    raise BadInput(what, f"{run}, {before}", "compare runs whose losses are of one kind")
  known, names = labels(new.dataset, split), {"domain": new.dataset.domains}
  parts: dict[str, tuple[np.ndarray, float]] = {
    text: (members(text, known, names), much) for text, much in allowed.items()
  }
  return gates.judge(losses(old, split), losses(new, split), parts, confidence, _SEED, canaries)


def _loss(config: Train) -> dict[str, object]:
  """What makes a loss of another kind or unit, by its key: the same model may be judged easier or harder by it."""
  settings = {f"loss.{name}": value for name, value in dataclasses.asdict(config.loss).items()}
  return {"family": config.family, "objective": config.objective} | settings
