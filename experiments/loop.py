"""The training loop: restore, step, log one step late, save, evaluate, write the row.

Order of a start: lock the directory, open the data, build the abstract state, restore the newest verified
checkpoint onto the present mesh or initialise, drop metrics beyond the restored step, continue the stream at
the saved global sample. Everything a step depends on is in (checkpoint, config, dataset), so that a killed
run continues bit for bit.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from data.datasets import Dataset

from data import reader
from data.errors import BadInput
from experiments import mesh as meshes
from experiments import step as steps
from experiments.checkpoints import Checkpoints
from experiments.config import Train
from experiments.optimizer import make_optimizer, schedule
from experiments.preemption import Preempted, StopSignal
from experiments.progress import Progress
from experiments.run_directory import RunDirectory
from experiments.task import FIELDS, Task, make_task
from objectives import next_token


class Diverged(RuntimeError):
  """Non-finite steps persist after rolling back; the last good checkpoint is on disk."""


def train(run: RunDirectory, config: Train, dataset: Dataset, stop: StopSignal) -> dict[str, Any]:
  """Trains to `config.tokens` and returns the run-table row (without writing it).

  Raises Preempted after saving when `stop` is set, Diverged when recovery fails.
  """
  started = time.monotonic()
  mesh = meshes.make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor, config.mesh.sequence)
  task = make_task(config, dataset.window_steps, dataset.window_agents, len(dataset.domains))
  source = reader.WindowSource(dataset, config.data.train_split, fields=tuple(FIELDS))
  if config.data.unique_windows:
    source = source.first(config.data.unique_windows)
  windows = config.data.batch_windows
  total = math.ceil(config.tokens / (windows * source.tokens_per_window))

  tx = make_optimizer(config.optimizer, total, config.model.width)
  key = jax.device_put(jax.random.key(config.seed), jax.NamedSharding(mesh, jax.P()))
  example = task.to_batch(source.stacked(np.zeros(windows, np.int64)))
  spec, init = steps.abstract_state(task.model.init, tx, mesh, example, key)
  step = steps.make_step(task.loss_fn, tx, mesh, spec, config.optimizer.accumulate)

  checkpoints = Checkpoints(run.path, keep=config.checkpoint.keep)
  restored = checkpoints.restore_newest(spec)
  if restored is None:
    state, position, seen, rollbacks = init(key), 0, 0.0, 0
  else:
    _, state, meta = restored
    position, seen, rollbacks = meta["samples_seen"], meta["tokens_seen"], meta["rollbacks"]
  done = int(state["step"])
  run.supersede(done)

  def save(at: int) -> None:
    checkpoints.save(at, state, {"samples_seen": position, "tokens_seen": seen, "rollbacks": rollbacks})

  def stream(start: int) -> Iterator[tuple[dict[str, jax.Array], float]]:
    batches = reader.batches(
      source,
      batch_size=windows,
      seed=config.seed,
      start_sample=start,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
      shuffle=True,
      epochs=None,
      read_threads=config.data.read_threads,
    )
    for batch in batches:
      yield meshes.put_batch(task.to_batch(batch), mesh)

  rate = schedule(config.optimizer, total)
  progress = Progress(
    total=total,
    done=done,
    tokens_per_step=windows * source.tokens_per_window,
    flops_per_token=task.model.config.flops_per_token(),
  )
  batches = stream(position)
  late: tuple[int, dict[str, jax.Array]] | None = None  # metrics of the step before, still on the device
  bad, waited, last_saved = 0, 0.0, done

  with progress:
    while done < total:
      begun = time.monotonic()
      batch = next(batches)
      waited += time.monotonic() - begun
      with jax.transfer_guard("disallow"):
        state, metrics = step(state, batch, key)
      position += windows
      done += 1
      checkpoints.poll()
      previous, late = late, (done, metrics)
      if previous is not None:
        bad, seen = _report(run, progress, previous, config, rate, bad, seen)
      ending = done == total or stop.requested(done)
      if ending or done % config.checkpoint.every_steps == 0:
        bad, seen = _report(run, progress, late, config, rate, bad, seen)
        late = None
      if bad >= config.recovery.patience:
        # The step itself refuses non-finite updates; that many in a row mean the state is at fault.
        if rollbacks >= config.recovery.rollbacks:
          checkpoints.wait()
          raise Diverged(
            f"{bad} non-finite steps in a row at step {done} after {rollbacks} roll-backs; the last good state"
            f" is step {checkpoints.newest()}: lower the learning rate or look at the data near window {position}"
          )
        skipped_to, rollbacks = position, rollbacks + 1
        checkpoints.wait()
        restored = checkpoints.restore_newest(spec)
        if restored is None:
          state, seen = init(key), 0.0
        else:
          _, state, meta = restored
          seen = meta["tokens_seen"]
        done, position, late, bad = int(state["step"]), skipped_to, None, 0
        run.supersede(done)
        run.append({"event": "rollback", "step": done, "skipped_to_window": position})
        batches = stream(position)
        continue
      if late is None and bad == 0 and done > last_saved:
        save(done)
        last_saved = done
      if stop.requested(done) and done < total:
        checkpoints.wait()
        raise Preempted(f"saved step {done} of {total}")
  checkpoints.wait()
  trained = time.monotonic() - started

  result = evaluate(task, config, dataset, mesh, state["params"], config.data.eval_split)
  if not math.isfinite(result["loss"]):
    raise Diverged(f"the {config.data.eval_split} loss is not finite after step {done}")
  model = task.model.config
  unique = min(seen, source.tokens)
  return {
    "family": config.family,
    "objective": config.objective,
    "dataset": dataset.name,
    "split_fingerprint": dataset.fingerprint,
    "params": model.non_embedding_params(),
    "params_total": model.param_count(),
    "tokens": int(seen),
    "unique_tokens": int(unique),
    "flops": float(seen * model.flops_per_token()),
    "flops_6nd": float(6.0 * model.non_embedding_params() * seen),
    "loss": result["loss"],
    "loss_by_slice": result["by_slice"],
    "seed": config.seed,
    "learning_rate": config.optimizer.learning_rate,
    "batch_tokens": int(round(windows * source.tokens_per_window)),
    "steps": done,
    "seconds": trained,
    "device": jax.devices()[0].device_kind,
    "data_wait_share": waited / trained,
    "corrupt_records": source.corrupt,
    "quarantined_checkpoints": checkpoints.quarantined,
    "rollbacks": rollbacks,
  }


def evaluate(task: Task, config: Train, dataset: Dataset, mesh, params, split: str) -> dict[str, Any]:
  """Held-out nats per move over a whole split: "loss" and "by_slice" (moving agents and every domain)."""
  source = reader.WindowSource(dataset, split, fields=tuple(FIELDS))
  size = min(64, len(source)) // jax.process_count() * jax.process_count()
  if size == 0:
    raise BadInput(
      f"split {split!r} has fewer windows than processes", dataset.path, "build a larger dataset"
    )
  run = steps.make_eval(task.loss_fn, mesh)
  key = jax.device_put(jax.random.key(0), jax.NamedSharding(mesh, jax.P()))
  parts = []
  for batch in reader.batches(
    source, batch_size=size, seed=0, start_sample=0, process_index=jax.process_index(),
    process_count=jax.process_count(), shuffle=False, epochs=1, read_threads=config.data.read_threads,
  ):  # fmt: skip
    parts.append(jax.tree.map(np.asarray, run(params, meshes.put_batch(task.to_batch(batch), mesh), key)))
  means = jax.tree.map(float, {k: v for k, v in next_token.reduce(parts).items() if np.ndim(v) == 0})
  slices = {"moving": means["moving"]}
  for name in ("by_domain", "moving_by_domain"):
    values = next_token.reduce(parts)[name]
    slices |= {
      domain if name == "by_domain" else f"moving/{domain}": float(value)
      for domain, value in zip(dataset.domains, values, strict=True)
      if np.isfinite(value)
    }
  return {"loss": means["loss"], "by_slice": slices}


def _report(run, progress, late, config, rate, bad, seen):
  """Fetches one step's metrics, logs them, and counts tokens and consecutive non-finite steps."""
  step, metrics = late
  values = {name: float(value) for name, value in jax.device_get(metrics).items()}
  finite = values["finite"] > 0
  seen += values["tokens"]
  if step % config.log_every == 0 or not finite:
    record = {"step": step, "tokens": seen, "learning_rate": float(rate(step - 1))}
    if finite:
      record |= {name: values[name] for name in ("loss", "moving", "gradient_norm")}
    else:
      record["event"] = "non-finite step skipped"
    run.append(record)
  progress.update(step, values["loss"])
  return (0 if finite else bad + 1), seen
