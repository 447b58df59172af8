"""What a run writes down while it trains: metrics.jsonl, and for TensorBoard the same numbers under tb/."""

import math
import pathlib
from typing import Any

import jax
import optax

from data.errors import BadInput
from experiments.run_directory import RunDirectory
from objectives import collapse

_rank = jax.jit(collapse.effective_rank)
_NOT_SHOWN = ("tokens", "finite")  # of this step alone; what is finite has no event


class Journal:
  """One record per logged step, one per event.

  Args:
    run: where. every: log each so many steps. rate: learning rate at a step, from 0.
    tensorboard: whether to write for TensorBoard, too.

  Attributes:
    loss: of the last finite step, nats per token; NaN before the first.
    probed: steps whose probes are written down.
  """

  def __init__(self, run: RunDirectory, every: int, rate: optax.Schedule, tensorboard: bool):
    self._run, self._every, self._rate = run, every, rate
    self._board: Any = None
    self._tensorboard = tensorboard and run.writer
    self.loss = math.nan
    self.probed: set[int] = set()

  def resume(self, step: int) -> None:
    """Forgets what was written about later steps: they will be made again."""
    self._run.supersede(step)
    # By step: the other processes may read before process 0 has dropped what is later.
    probes = (record["step"] for record in self._run.read_metrics() if record.get("event") == "probe")
    self.probed = {one for one in probes if one <= step}
    self.close()
    if self._tensorboard:
      self._board = _open_board(self._run.path / "tb", step)

  def step(self, step: int, tokens: float, values: dict[str, float], gram: jax.Array | None = None) -> None:
    """One step (from 1) and the metrics it returned; one that was not finite is always written.

    tokens: supervised moves seen so far, this step included. gram: of its features, whose rank is worked out when the
    step is written (objectives/collapse.py).
    """
    finite = bool(values["finite"])
    self.loss = values["loss"] if finite else self.loss
    if finite and step % self._every:
      return
    record: dict[str, Any] = {"step": step, "learning_rate": float(self._rate(step - 1))}
    if not finite:
      self._run.append_metrics(record | {"event": "non-finite step skipped"})
    else:
      record |= {"tokens": tokens} | {name: v for name, v in values.items() if name not in _NOT_SHOWN}
      if gram is not None:
        record["feature_rank"] = float(_rank(jax.device_get(gram)))
      self._run.append_metrics(record)
      if self._board:
        for name in record.keys() - {"step"}:
          self._board.add_scalar(name, record[name], step)

  def probe(self, step: int, scores: dict[str, float]) -> None:
    """What probes read out of the features after `step` steps."""
    self.probed.add(step)
    self._run.append_metrics({"event": "probe", "step": step, "scores": scores})

  def rolled_back(self, noticed: int, to: int, skipped_to_window: int) -> None:
    """Dated to where it was noticed: a run killed before its next save goes back and notices it again."""
    record = {"event": "rollback", "step": noticed, "to": to, "skipped_to_window": skipped_to_window}
    self._run.append_metrics(record)

  def close(self) -> None:
    """Leaves everything on disk; only `resume` may follow."""
    if self._board:
      self._board.close()


def _open_board(folder: pathlib.Path, step: int) -> Any:
  """A writer whose file tells TensorBoard to hide what earlier files hold about steps after `step`."""
  try:
    import tensorboardX
  except ImportError:
    raise BadInput(
      "tensorboardX is not installed", "config.tensorboard", "install the board extra, or say false"
    ) from None
  # Names are by the second: a quick roll-back would write over one.
  suffix = f".{len(list(folder.glob('*')))}"
  return tensorboardX.SummaryWriter(str(folder), purge_step=step + 1, flush_secs=10, filename_suffix=suffix)
