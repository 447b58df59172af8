"""A finished run that goes on with its products quantised: what is trained is the artifact."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from data.errors import BadInput
from experiments import run as runs
from experiments import start
from experiments import step as steps
from experiments.config import Mixture
from experiments.loop import train
from experiments.optimizer import make_optimizer
from experiments.preemption import StopSignal
from experiments.run import Run
from experiments.run_directory import RunDirectory
from experiments.setup import make_setup
from export import recipe_file
from export.exportable import of_batch
from export.recipe import Recipe
from export.smoothing import Move
from export.straight_through import quantised_task


def go_on(
  base: Run,
  recipe: Recipe,
  moves: Sequence[Move],
  workdir: os.PathLike | str,
  tokens: int,
  rate: float,
  mixture: Mixture | None = None,
) -> None:
  """Trains (or resumes) `workdir` from the weights of `base`, on its data and objective; keeps recipe.json there.

  Args:
    rate: peak learning rate, over the run's own. mixture: how often records are read; None: as `base` read them.

  Raises Preempted, Diverged, and BadInput for a directory of another run or recipe, a recipe of another model, and a
  run that follows a teacher.
  """
  if getattr(base.config.loss, "teacher", ""):
    raise BadInput("follows a teacher, who would be quantised, too", base.path, "go on without one first")
  exported = of_batch(*runs.deployed(base))
  recipe_file.check(exported, recipe, moves)
  path = pathlib.Path(workdir) / "recipe.json"
  if path.exists():
    recipe_file.keep(path, recipe, moves)
  data = dataclasses.replace(base.config.data, dataset=str(base.dataset.path))
  optimizer = dataclasses.replace(
    base.config.optimizer, learning_rate=rate * base.config.optimizer.learning_rate
  )
  config = dataclasses.replace(
    base.config,
    tokens=tokens,
    model=_deployed_shape(base.config.model),
    data=dataclasses.replace(data, mixture=mixture or data.mixture),
    start=dataclasses.replace(base.config.start, run=str(base.path), other_shapes="refuse"),
    optimizer=optimizer,
  )
  with StopSignal() as stop:
    setup = make_setup(config, base.dataset)
    task = quantised_task(setup.task, exported, moves, recipe)
    tx = make_optimizer(optimizer, setup.total, config.model.width)
    step = steps.make_step(task, tx, setup.mesh, setup.spec, optimizer.accumulate)
    setup, _ = start.starting_from(dataclasses.replace(setup, task=task, step=step), exported.weights)
    with RunDirectory.open(str(workdir), dataclasses.asdict(config)) as directory:
      if directory.result() is not None:
        return
      recipe_file.keep(path, recipe, moves)
      row = train(directory, setup, stop)
      # Of the configuration and the recipe: either makes it another run.
      digest = hashlib.sha256(
        f"{directory.hash} {recipe_file.fingerprint(recipe, moves)}".encode()
      ).hexdigest()
      directory.write_result(
        {"run_id": directory.path.name, "config_hash": digest[: len(directory.hash)]} | row
      )


def _deployed_shape(shape: Any) -> Any:
  """Layers unrolled, float32."""
  return dataclasses.replace(shape, scan=False, remat="none", dtype="float32")
