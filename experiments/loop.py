"""The training loop: a run directory and what the run is made of become a row of the run table."""

import contextlib
import pathlib
from typing import Any

import jax

from experiments.adaptation import cost
from experiments.attempt import Attempt
from experiments.config import Train
from experiments.evaluate import evaluate
from experiments.peak import Speed
from experiments.preemption import StopSignal
from experiments.probes import Probes
from experiments.program import Preempted
from experiments.progress import Progress
from experiments.run_directory import RunDirectory
from experiments.setup import Setup


def train(run: RunDirectory, setup: Setup, stop: StopSignal) -> dict[str, Any]:
  """Trains to the last step, from the newest checkpoint if there is one, and returns the row.

  Raises Preempted after saving when `stop` was requested, Diverged when recovery fails, BadInput when the
  directory's run began with another dataset.
  """
  run.write_provenance(setup.config.seed, [str(d) for d in jax.devices()], setup.dataset.fingerprint)
  with contextlib.closing(Attempt(run, setup)) as attempt:
    probes = Probes(setup)
    _complete(attempt, setup, probes, stop, run.path.name)
    params, split = attempt.state["params"], setup.config.data.eval_split
    row = _row(setup, attempt, evaluate(setup.task, setup.dataset, setup.mesh, params, split))
    return row | {"probes": probes.scores(params)}


def _complete(attempt: Attempt, setup: Setup, probes: Probes, stop: StopSignal, name: str) -> None:
  """Steps, saves and goes back until the last step is on disk, or the run is asked to stop."""
  model, total = setup.task.model.config, setup.total
  with Progress(total, name, attempt.done) as bar:
    speed = Speed(setup.task.flops_per_token(), model.dtype) if bar.watched else None
    while attempt.done < total:
      if probes.due(attempt.done) and attempt.done not in attempt.journal.probed:
        attempt.journal.probe(attempt.done, probes.scores(attempt.state["params"]))
      before = attempt.done
      attempt.advance()
      stopping = stop.requested(attempt.done)
      if stopping or attempt.done == total or attempt.done % setup.config.checkpoint.every_steps == 0:
        attempt.save()
      if attempt.is_lost():
        attempt.roll_back()
      elif stopping and attempt.done < total:
        attempt.finish()
        raise Preempted(f"saved step {attempt.saved} of {total}; run the same command to continue")
      shown = speed.shown(attempt.at.tokens) if speed else {}
      bar.update(attempt.done - before, loss=attempt.journal.loss, **shown)
  attempt.finish()


def _row(setup: Setup, attempt: Attempt, held_out: dict[str, Any]) -> dict[str, Any]:
  """The run's line in the run table (scaling/table.py), but for its name and hash; and what went wrong."""
  config, model, tokens = setup.config, setup.task.model.config, attempt.at.tokens
  costs = cost(setup.task, setup.spec)
  return {
    "family": config.family,
    "objective": _objective(config),
    "dataset": setup.dataset.path.name,
    "split_fingerprint": f"{setup.dataset.fingerprint}/{config.data.eval_split}",
    "params": model.non_embedding_params(),
    "params_total": model.param_count(),
    "tokens": int(tokens),
    "unique_tokens": int(min(tokens, setup.order.records * setup.tokens_per_record)),
    "flops": tokens * setup.task.flops_per_token(),
    "flops_6nd": 6.0 * model.non_embedding_params() * tokens,
    "loss": held_out["loss"],
    "loss_ranks": setup.task.ranks,
    "loss_by_slice": held_out["by_slice"],
    "seed": config.seed,
    "learning_rate": config.optimizer.learning_rate,
    "batch_tokens": round(config.data.batch_windows * setup.tokens_per_record),
    "steps": attempt.done,
    "seconds": attempt.at.seconds,
    "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    "data_wait_share": attempt.at.waited / attempt.at.seconds,
    "corrupt_records": setup.source.skipped,
    "quarantined_checkpoints": attempt.checkpoints.quarantined,
    "rollbacks": attempt.at.rollbacks,
    "trainable": costs["trainable"],
    "optimizer_bytes": costs["optimizer_bytes"],
  }


def _objective(config: Train) -> str:
  """What was trained for, and everything that sets the run apart from others of its size in a table."""
  parts = [config.objective]
  if config.data.blind_to:
    parts.append(f"blind to {config.data.blind_to}")
  if config.adaptation.method != "none":
    parts.append(config.adaptation.method)
  if config.start.run:
    cut = (
      "" if config.start.other_shapes in ("refuse", "fresh") else f", pruned by {config.start.other_shapes}"
    )
    parts.append(f"from {pathlib.Path(config.start.run).name}{cut}")
  return ", ".join(parts)
