"""What a run writes down while it trains: one record per logged step, one per event."""

import math
from typing import Any

import optax

from experiments.run_directory import RunDirectory

_SHOWN = ("loss", "moving", "gradient_norm")


class Journal:
  """Records of steps in metrics.jsonl.

  Args:
    run: where. every: log each so many steps. rate: learning rate at a step, from 0.

  Attributes:
    loss: of the last finite step, nats per token; NaN before the first.
  """

  def __init__(self, run: RunDirectory, every: int, rate: optax.Schedule):
    self._run, self._every, self._rate = run, every, rate
    self.loss = math.nan

  def step(self, step: int, tokens: float, values: dict[str, float]) -> None:
    """One step (from 1) and the metrics it returned; one that was not finite is always written.

    tokens: supervised moves seen so far, this step included.
    """
    record: dict[str, Any] = {"step": step, "learning_rate": float(self._rate(step - 1))}
    if not values["finite"]:
      self._run.append_metrics(record | {"event": "non-finite step skipped"})
      return
    self.loss = values["loss"]
    if step % self._every == 0:
      self._run.append_metrics(record | {"tokens": tokens} | {name: values[name] for name in _SHOWN})

  def rolled_back(self, noticed: int, to: int, skipped_to_window: int) -> None:
    """Dated to where it was noticed: a run killed before its next save goes back and notices it again."""
    record = {"event": "rollback", "step": noticed, "to": to, "skipped_to_window": skipped_to_window}
    self._run.append_metrics(record)
