"""The training loop: restore, step, log one step late, save, evaluate, return the row.

Order of a start: open the data, describe the state without allocating it, restore the newest verified
checkpoint onto the present mesh or initialise, drop the metrics beyond the restored step, continue the
stream at the saved sample. A step depends on (checkpoint, config, dataset) alone, so a killed run continues
bit for bit.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from data import reader
from data.datasets import Dataset
from experiments import mesh as meshes
from experiments import step as steps
from experiments.checkpoints import Checkpoints
from experiments.config import Train
from experiments.evaluate import evaluate
from experiments.optimizer import make_optimizer, schedule
from experiments.peak import matmul_peak
from experiments.preemption import StopSignal
from experiments.program import Preempted
from experiments.progress import Progress
from experiments.run_directory import RunDirectory
from experiments.task import FIELDS, make_task


class Diverged(RuntimeError):
  """Non-finite steps persist after rolling back; the last good state is on disk."""


@dataclasses.dataclass
class Position:
  """Where a run stands besides its state; saved with every checkpoint.

  samples: windows of the endless stream consumed, over all processes. tokens: supervised moves seen.
  rollbacks: how often it went back after non-finite steps. bad: non-finite steps in a row.
  """

  samples: int = 0
  tokens: float = 0.0
  rollbacks: int = 0
  bad: int = 0


def train(run: RunDirectory, config: Train, dataset: Dataset, stop: StopSignal) -> dict[str, Any]:
  """Trains to `config.tokens` and returns the run-table row.

  Raises Preempted after saving when `stop` was requested, Diverged when recovery fails.
  """
  begun = time.monotonic()
  mesh = meshes.make_mesh(**dataclasses.asdict(config.mesh))
  task = make_task(config, dataset.window.steps, dataset.window.agents, len(dataset.domains))
  source = reader.WindowSource(dataset, config.data.train_split, FIELDS, limit=config.data.unique_windows)
  windows = config.data.batch_windows
  total = math.ceil(config.tokens / (windows * source.tokens_per_window))
  tx = make_optimizer(config.optimizer, total, config.model.width)
  key = jax.jit(jax.random.key, out_shardings=jax.NamedSharding(mesh, jax.P()))(config.seed)
  example = task.to_batch(source.stacked(np.zeros(windows, np.int64)))
  spec, init = steps.abstract_state(task.model.init, tx, mesh, example, key)
  step = steps.make_step(task.loss_fn, tx, mesh, spec, config.optimizer.accumulate)
  run.write_provenance(config.seed, [str(d) for d in jax.devices()], dataset.fingerprint)

  checkpoints = Checkpoints(run.path, config.checkpoint.keep)

  def resume() -> tuple[steps.State, Position]:
    restored = checkpoints.restore_newest(spec)
    state, at = (init(key), Position()) if restored is None else (restored[1], Position(**restored[2]))
    run.supersede(int(state["step"]))
    return state, at

  def stream(start: int) -> Iterator[dict[str, jax.Array]]:
    batches = reader.batches(
      source, windows, config.seed, start, jax.process_index(), jax.process_count(), config.data.read_threads
    )
    return (meshes.put_batch(task.to_batch(batch), mesh) for batch in batches)

  state, at = resume()
  batches = stream(at.samples)
  done = saved = int(state["step"])
  log = _Log(run, config, schedule(config.optimizer, total))
  bar = Progress(total, run.path.name, done)
  speed = _Speed(task.model.config.flops_per_token(), config.model.dtype)
  waited = 0.0
  with bar:
    while done < total:
      ready = time.monotonic()
      batch = next(batches)
      waited += time.monotonic() - ready
      with jax.transfer_guard("disallow"):
        state, metrics = step(state, batch, key)
      done += 1
      at.samples += windows
      checkpoints.poll()
      log.later(done, metrics, at)
      stopping = stop.requested(done)
      if done == total or stopping or done % config.checkpoint.every_steps == 0:
        log.flush(at)  # what is saved must count every step it contains
        ends_bad = (
          0 < at.bad < config.recovery.patience and done == total
        )  # its state is sound, and the result
        if (at.bad == 0 or ends_bad) and done > saved:
          checkpoints.save(done, state, dataclasses.asdict(at))
          saved = done
      bar.update(1, loss=log.loss, **speed.shown(at.tokens))
      if at.bad >= config.recovery.patience:
        # A step refuses its own non-finite update; several in a row mean that the state is at fault.
        checkpoints.wait()
        if at.rollbacks >= config.recovery.rollbacks:
          raise Diverged(
            f"{at.bad} non-finite steps in a row at step {done}, after {at.rollbacks} roll-backs; the last"
            f" good state is in {run.path}; lower the learning rate or look at windows near {at.samples}"
          )
        noticed, beyond, rollbacks = done, at.samples, at.rollbacks + 1
        state, at = resume()
        at.samples, at.rollbacks, at.bad = beyond, rollbacks, 0
        done = saved = int(state["step"])
        log = _Log(run, config, schedule(config.optimizer, total))
        # Dated to where it was noticed: a run killed before its next save goes back and notices it again.
        run.append_metrics({"event": "rollback", "step": noticed, "to": done, "skipped_to_window": beyond})
        batches = stream(beyond)
      elif stopping and done < total:
        checkpoints.wait()
        raise Preempted(f"saved step {saved} of {total}; run the same command to continue")
  checkpoints.wait()
  seconds = time.monotonic() - begun
  held_out = evaluate(task, dataset, mesh, state["params"], config.data.eval_split, config.data.read_threads)
  model = task.model.config
  return {
    "family": config.family,
    "objective": config.objective,
    "dataset": dataset.path.name,
    "split_fingerprint": dataset.fingerprint,
    "params": model.non_embedding_params(),
    "params_total": model.param_count(),
    "tokens": int(at.tokens),
    "unique_tokens": int(min(at.tokens, source.tokens)),
    "flops": at.tokens * model.flops_per_token(),
    "flops_6nd": 6.0 * model.non_embedding_params() * at.tokens,
    "loss": held_out["loss"],
    "loss_by_slice": held_out["by_slice"],
    "seed": config.seed,
    "learning_rate": config.optimizer.learning_rate,
    "batch_tokens": round(windows * source.tokens_per_window),
    "steps": done,
    "seconds": seconds,
    "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    "data_wait_share": waited / seconds,
    "corrupt_records": source.skipped,
    "quarantined_checkpoints": checkpoints.quarantined,
    "rollbacks": at.rollbacks,
  }


class _Log:
  """Metrics, one step late: those of step k are fetched after step k + 1 has been dispatched."""

  def __init__(self, run: RunDirectory, config: Train, rate: Callable):
    self._run, self._every, self._rate = run, config.log_every, rate
    self._waiting: tuple[int, dict[str, jax.Array]] | None = None
    self.loss = math.nan

  def later(self, step: int, metrics: dict[str, jax.Array], at: Position) -> None:
    self.flush(at)
    self._waiting = step, metrics

  def flush(self, at: Position) -> None:
    """Counts and writes what is waiting."""
    if self._waiting is None:
      return
    step, metrics = self._waiting
    self._waiting = None
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    record: dict[str, Any] = {"step": step, "learning_rate": float(self._rate(step - 1))}
    if values["finite"] > 0:
      at.tokens, at.bad, self.loss = at.tokens + values["tokens"], 0, values["loss"]
      record |= {"tokens": at.tokens} | {k: values[k] for k in ("loss", "moving", "gradient_norm")}
      if step % self._every == 0:
        self._run.append_metrics(record)
    else:
      at.bad += 1
      self._run.append_metrics(record | {"event": "non-finite step skipped"})


class _Speed:
  """Tokens per second and the share of the measured matmul peak, since the loop began."""

  def __init__(self, flops_per_token: int, dtype: str):
    self._flops, self._peak = flops_per_token, matmul_peak(dtype) * jax.device_count()
    self._begun: tuple[float, float] | None = None

  def shown(self, tokens: float) -> dict[str, float]:
    now = time.monotonic()
    if self._begun is None:  # the first step compiles
      self._begun = now, tokens
      return {}
    rate = (tokens - self._begun[1]) / max(now - self._begun[0], 1e-9)
    return {"tokens/s": rate, "MFU": rate * self._flops / self._peak}
