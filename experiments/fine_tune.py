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
  from experiments import fine_tuning
  from experiments import run as runs
  from export import recipe_file

  base = runs.open_run(_RUN.value, _DATASET.value)
  recipe, moves = recipe_file.read(_RECIPE.value)
  fine_tuning.go_on(base, recipe, moves, _WORKDIR.value, _TOKENS.value, _RATE.value)
  return 0


if __name__ == "__main__":
  program.run(main)
