"""Compression, verification, reinforcement: python -m experiments.reinforce --run=W --workdir=V --tokens=N.

Replays logs of the training split through a finished run and through what its artifact would answer, as
--recipe=FILE makes it (of export.allocate) or as static INT8; finds the slices in which the two part
(experiments/reinforcement.py); goes on training with the products quantised, these slices read --boost times as often,
as V/run; and replays held-out logs: how far the compressed model is from the full one, slice by slice, before and
after. Writes V/reinforcement.json. The artifact is then rebuilt, the integers that were trained:

  python -m export.build --run=V/run --recipe=V/run/recipe.json --out=V/vehicle

--boost=1 reads all slices as they come: what training on gains by itself.
"""

from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string(
  "run", None, "Run directory of a finished training: the full model.", required=True
)
_DATASET = flags.DEFINE_string(
  "dataset", "", "Where the dataset it was trained on lies now, if it has been moved."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Directory for V/run and V/reinforcement.json.", required=True
)
_RECIPE = flags.DEFINE_string("recipe", "", "File that export.allocate has made; empty: static INT8.")
_METHOD = flags.DEFINE_string(
  "method", "percentile", "Without a recipe: how ranges of activations are chosen."
)
_CALIBRATE = flags.DEFINE_integer(
  "calibrate", 64, "Without a recipe: records to calibrate on.", lower_bound=1
)
_TOKENS = flags.DEFINE_integer("tokens", None, "To train on.", lower_bound=1, required=True)
_RATE = flags.DEFINE_float("rate", 0.3, "Peak learning rate, over the run's own.", lower_bound=0.0)
_BOOST = flags.DEFINE_float("boost", 2.0, "How much oftener slices that stand out are read.", lower_bound=1.0)
_RECORDS = flags.DEFINE_integer("records", 512, "Records of either split to replay at most.", lower_bound=1)


def main() -> int:
  import dataclasses
  import pathlib

  from data.errors import BadInput
  from data.files import require_directory, write_json_atomic
  from experiments import fine_tuning, reinforcement
  from experiments import run as runs
  from export import recipe_file
  from export.recipe import Recipe

  out = require_directory(_WORKDIR.value, "--workdir")
  base = runs.open_run(_RUN.value, _DATASET.value)
  recipe, moves = recipe_file.read(_RECIPE.value) if _RECIPE.value else (static(base), [])
  data = base.config.data
  found = {}
  mined = reinforcement.Replay(base, moves, data.train_split, _RECORDS.value)
  found["mined"] = reinforcement.gaps(mined, mined.losses(base, recipe), mined.losses(base, Recipe({}, {})))
  boosts = reinforcement.boosts(found["mined"], _BOOST.value)
  if not boosts:
    raise BadInput("no slice stands out: there is nothing to reinforce", _RUN.value, "replay more --records")
  mixture = dataclasses.replace(data.mixture, boosts=boosts) if _BOOST.value > 1 else data.mixture
  fine_tuning.go_on(base, recipe, moves, out / "run", _TOKENS.value, _RATE.value, mixture)
  tuned = runs.open_run(str(out / "run"), str(base.dataset.path))
  held_out = reinforcement.Replay(base, moves, data.eval_split, _RECORDS.value)
  full, before = (held_out.losses(base, one) for one in (Recipe({}, {}), recipe))
  after = held_out.losses(tuned, recipe)
  found |= {
    "before": reinforcement.gaps(held_out, before, full),
    "after": reinforcement.gaps(held_out, after, full),
    "gained": reinforcement.gaps(held_out, before, after),
  }
  result: dict[str, Any] = {"run": base.row["run_id"], "boosts": mixture.boosts, "tokens": _TOKENS.value}
  result |= {k: {name: dataclasses.asdict(gap) for name, gap in own.items()} for k, own in found.items()}
  write_json_atomic(pathlib.Path(out) / "reinforcement.json", result)
  print(table(found, mixture.boosts))
  print(out / "reinforcement.json")
  return 0


def static(run) -> Any:
  """INT8 of weights and activations, calibrated on the training split."""
  from data.errors import BadInput
  from experiments import run as runs
  from export import calibration, judge
  from export.exportable import of_batch
  from export.ranges import METHODS

  if _METHOD.value not in METHODS:
    raise BadInput(f"no method {_METHOD.value!r}", "--method", f"choose from {', '.join(METHODS)}")
  split = run.config.data.train_split
  records = judge.records_of_split(run, split, _CALIBRATE.value)
  notes = {"dataset": run.dataset.fingerprint, "split": split, "records": len(records)}
  notes["fingerprint"] = calibration.fingerprint(records)
  observed = calibration.observe(of_batch(*runs.deployed(run)), records)
  return calibration.static_recipe(observed, _METHOD.value, False, 8, notes)


def table(found: dict[str, Any], boosts: str) -> str:
  """What the program prints: a line for each slice, the widest gap first."""
  lines = [f"read oftener: {boosts or 'nothing'}", ""]
  lines.append(f"{'nats over the full model':<28}{'mined':>18}{'before':>18}{'after':>18}{'gained':>18}")
  for name in sorted(found["before"], key=lambda one: -found["before"][one].nats):
    cells = [
      f"{own[name].nats:>+9.4f} +-{own[name].error:.4f}" if name in own else f"{'':>18}"
      for own in found.values()
    ]
    lines.append(
      f"{name + (' *' if found['mined'].get(name) and found['mined'][name].stands_out else ''):<28}"
      + "".join(cells)
    )
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
