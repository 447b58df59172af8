"""Runs that follow one another: the new one must not have lost what the old one could.

What it trains on is said by `data.mixture` (old records among the new ones, data/mixtures.py); whether it may follow
is judged here, on one split of the new run's dataset: by the loss, or by what a probe reads out of the features, where
the loss ranks no runs or the two have losses of different kinds.
"""

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from data.errors import BadInput
from data.slices import members
from evaluation import gates
from experiments.config import Train
from experiments.losses import LOSSES
from experiments.per_record import labels, losses, probe_errors
from experiments.run import Run, open_run

_JUDGED_AS = {"distillation": "next_token", "policy_distillation": "multi_task"}


def compare(
  run: str,
  before: str,
  allowed: Mapping[str, float],
  split: str,
  confidence: float,
  canaries: Collection[str] = (),
  probe: str = "",
) -> dict[str, gates.Verdict]:
  """The verdict of every slice.

  Args:
    allowed: slice (data/slices.py) to how much worse it may be.
    canaries: those of them that must be shown not to be worse (evaluation/gates.py).
    probe: "" compares losses; a target (evaluation/probing/targets.py) compares 1 - score of linear probes for it.

  Raises BadInput for a slice or a target that is not there, and for losses that do not compare.
  """
  new = open_run(run)
  old = open_run(before, dataset=str(new.dataset.path))
  known, names = labels(new.dataset, split), {"domain": new.dataset.domains}

  def called(text: str) -> str:
    return f"{probe} in {text}" if probe else text

  parts: dict[str, tuple[np.ndarray, float]] = {
    called(text): (members(text, known, names), much) for text, much in allowed.items()
  }
  watched = [called(text) for text in canaries]
  if probe:
    old_N, new_N = probe_errors(old, new, probe, split)
  else:
    _require_comparable(new, old)
    old_N, new_N = losses(old, split), losses(new, split)
  return gates.judge(old_N, new_N, parts, confidence, watched)


def _require_comparable(new: Run, old: Run) -> None:
  """Raises BadInput unless both losses are of one kind, of every record alone, and lower for better weights."""
  remedy = 'compare what a probe reads: --probe=occupancy, say, or "probe" of a curriculum\'s gate'
  for run in (new, old):
    if not run.task.ranks:
      what = f"the loss of {run.config.objective} falls when features collapse, and ranks no runs"
      raise BadInput(what, run.path, remedy)
    if run.task.compares:
      what = (
        f"the loss of {run.config.objective} compares the records of a batch: there is none of a record alone"
      )
      raise BadInput(what, run.path, remedy)
  one, other = _loss(new.config), _loss(old.config)
  for name in (name for name in one | other if one.get(name) != other.get(name)):
    what = f"{name} is {one.get(name)!r} of the one, {other.get(name)!r} of the other"
    raise BadInput(what, f"{new.path}, {old.path}", f"compare runs whose losses are of one kind, or {remedy}")


def _loss(config: Train) -> dict[str, object]:
  """What makes a held-out loss of another kind or unit, by its key: a model may be judged easier or harder by it.

  A student is judged as if it had no teacher (experiments/tasks/distillation.py).
  """
  objective = _JUDGED_AS.get(config.objective, config.objective)
  counted = {field.name for field in dataclasses.fields(LOSSES[objective])}
  own = {f"loss.{name}": value for name, value in dataclasses.asdict(config.loss).items() if name in counted}
  return {"family": config.family, "objective": objective} | own
