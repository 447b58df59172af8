"""The training loop: a run directory and what the run is made of become a row of the run table."""

import time
from typing import Any

import jax

from experiments.attempt import Attempt
from experiments.evaluate import evaluate
from experiments.peak import Speed
from experiments.preemption import StopSignal
from experiments.program import Preempted
from experiments.progress import Progress
from experiments.run_directory import RunDirectory
from experiments.setup import Setup


def train(run: RunDirectory, setup: Setup, stop: StopSignal) -> dict[str, Any]:
  """Trains to the last step, from the newest checkpoint if there is one, and returns the row.

  Raises Preempted after saving when `stop` was requested, Diverged when recovery fails, BadInput when the
  directory's run began with another dataset.
  """
  begun = time.monotonic()
  config, model = setup.config, setup.task.model.config
  run.write_provenance(config.seed, [str(d) for d in jax.devices()], setup.dataset.fingerprint)
  attempt = Attempt(run, setup)
  with Progress(setup.total, run.path.name, attempt.done) as bar:
    speed = Speed(model.flops_per_token(), model.dtype) if bar.watched else None
    while attempt.done < setup.total:
      before = attempt.done
      attempt.advance()
      stopping = stop.requested(attempt.done)
      if stopping or attempt.done == setup.total or attempt.done % config.checkpoint.every_steps == 0:
        attempt.save()
      if attempt.is_lost():
        attempt.roll_back()
      elif stopping and attempt.done < setup.total:
        attempt.checkpoints.wait()
        raise Preempted(f"saved step {attempt.saved} of {setup.total}; run the same command to continue")
      if speed:
        bar.update(attempt.done - before, loss=attempt.journal.loss, **speed.shown(attempt.at.tokens))
  attempt.checkpoints.wait()
  seconds = time.monotonic() - begun
  held_out = evaluate(setup.task, setup.dataset, setup.mesh, attempt.state["params"], config.data.eval_split)
  return _row(setup, attempt, held_out, seconds)


def _row(setup: Setup, attempt: Attempt, held_out: dict[str, Any], seconds: float) -> dict[str, Any]:
  """What WORKSPACE.md calls the row, but for its name and hash, and counts of what went wrong."""
  config, model, tokens = setup.config, setup.task.model.config, attempt.at.tokens
  return {
    "family": config.family,
    "objective": config.objective,
    "dataset": setup.dataset.path.name,
    "split_fingerprint": setup.dataset.fingerprint,
    "params": model.non_embedding_params(),
    "params_total": model.param_count(),
    "tokens": int(tokens),
    "unique_tokens": int(min(tokens, setup.source.tokens)),
    "flops": tokens * model.flops_per_token(),
    "flops_6nd": 6.0 * model.non_embedding_params() * tokens,
    "loss": held_out["loss"],
    "loss_by_slice": held_out["by_slice"],
    "seed": config.seed,
    "learning_rate": config.optimizer.learning_rate,
    "batch_tokens": round(config.data.batch_windows * setup.source.tokens_per_window),
    "steps": attempt.done,
    "seconds": seconds,
    "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    "data_wait_share": attempt.waited / seconds,
    "corrupt_records": setup.source.skipped,
    "quarantined_checkpoints": attempt.checkpoints.quarantined,
    "rollbacks": attempt.at.rollbacks,
  }
