"""Quantisation-aware training: python -m experiments.fine_tune --run=W --workdir=V --recipe=FILE --tokens=N.

Goes on from the weights of a finished run, on its own data and objective, with its products quantised as the recipe of
export.allocate says; V is a run like any other. Its artifact is made by export.build --run=V --recipe=V/recipe.json:
the integers that were trained. Its result.json has the loss of the quantised model.
"""

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_DATASET = flags.DEFINE_string(
  "dataset", "", "Where the dataset it was trained on lies now, if it has been moved."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the new run.", required=True)
_RECIPE = flags.DEFINE_string("recipe", None, "File that export.allocate has made.", required=True)
_TOKENS = flags.DEFINE_integer("tokens", None, "To train on.", lower_bound=1, required=True)
_RATE = flags.DEFINE_float("rate", 0.1, "Peak learning rate, over the run's own.", lower_bound=0.0)


def main() -> int:
  import dataclasses
  import pathlib

  from experiments import run as runs
  from experiments import start
  from experiments import step as steps
  from experiments.loop import train
  from experiments.optimizer import make_optimizer
  from experiments.preemption import StopSignal
  from experiments.run_directory import RunDirectory
  from experiments.setup import make_setup
  from export import recipe_file
  from export.exportable import forward
  from export.straight_through import quantised_task

  base = runs.open_run(_RUN.value, _DATASET.value)
  recipe, moves = recipe_file.read(_RECIPE.value)
  model, weights, example = runs.deployed(base)
  config = dataclasses.replace(
    base.config,
    tokens=_TOKENS.value,
    model=model_shape(base.config.model),
    data=dataclasses.replace(base.config.data, dataset=str(base.dataset.path)),
    start=dataclasses.replace(base.config.start, run=str(base.path), other_shapes="refuse"),
    optimizer=dataclasses.replace(
      base.config.optimizer, learning_rate=_RATE.value * base.config.optimizer.learning_rate
    ),
  )
  with StopSignal() as stop:
    setup = make_setup(config, base.dataset)
    task = quantised_task(setup.task, forward(model.apply, weights, example), moves, recipe)
    tx = make_optimizer(config.optimizer, setup.total, config.model.width)
    step = steps.make_step(task, tx, setup.mesh, setup.spec, config.optimizer.accumulate)
    setup, _ = start.starting_from(dataclasses.replace(setup, task=task, step=step), weights)
    with RunDirectory.open(_WORKDIR.value, dataclasses.asdict(config)) as directory:
      if directory.result() is not None:
        return 0
      recipe_file.keep(pathlib.Path(_WORKDIR.value) / "recipe.json", recipe, moves)
      row = train(directory, setup, stop)
      directory.write_result({"run_id": directory.path.name, "config_hash": directory.hash} | row)
  return 0


def model_shape(shape):
  """As it is deployed: layers unrolled, float32."""
  import dataclasses

  return dataclasses.replace(shape, scan=False, remat="none", dtype="float32")


if __name__ == "__main__":
  program.run(main)
