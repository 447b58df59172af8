"""Bad dreams of a motion model as training data: python -m evaluation.dream --run=W --out=DIR.

In pieces of training scenes the world model takes egos into trouble (evaluation/simulation/dreams.py) and finds ways
out of it, guided towards the lane; the best of them, by the driving score, become records. Writes an ordinary dataset
of windows: all records of the run's dataset, and the dreams, which are in the training split alone and of the domain
"dream", so that slices and mixtures find them:

  python -m experiments.train --config=experiments/configs/motion_dreams.py:with --config.data.dataset=DIR ...
"""

import itertools
from collections.abc import Iterator
from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_DATASET = flags.DEFINE_string(
  "dataset", "", "Where the dataset it was trained on lies now, if it has been moved."
)
_OUT = flags.DEFINE_string("out", None, "Directory to make.", required=True)
_PIECES = flags.DEFINE_integer("pieces", 2, "Pieces per scene, spread over its length.", lower_bound=1)
_GROUPS = flags.DEFINE_integer("groups", 4, "Groups per piece, drawn at random.", lower_bound=1)
_AGENTS = flags.DEFINE_integer("agents", 5, "Agents in a group: the ego and its nearest.", lower_bound=2)
_DRAWS = flags.DEFINE_integer(
  "draws", 8, "Ways out of each trouble, of which the best counts.", lower_bound=2
)
_SEED = flags.DEFINE_integer("seed", 0, "Of groups and draws.")

DOMAIN = "dream"
SPLIT = "train"
_OBSERVED_S = 1.5
_TOGETHER = 64  # scenarios simulated at once


def main() -> int:
  from data import dataset_writer
  from data.errors import BadInput
  from experiments import run as runs
  from models.motion import MotionModel

  dataset_writer.require_new(_OUT.value)
  run = runs.open_run(_RUN.value, _DATASET.value)
  if not isinstance(run.task.model, MotionModel):
    raise BadInput(f"is of family {run.config.family}", _RUN.value, "give the run of a motion model")
  base = run.dataset
  if _AGENTS.value > base.window.agents:
    raise BadInput(
      f"its records have {base.window.agents} slots", base.path, f"give --agents={base.window.agents}"
    )
  if DOMAIN in base.domains:
    raise BadInput("holds dreams already", base.path, "give a run that was trained on logs alone")
  made, told, faults = dreamed(run)
  notes = {
    "source": DOMAIN,
    "dreams": told,
    "faults": faults,
    "base": base.fingerprint,
    "run": run.row["run_id"],
    "arguments": {flag.name: flag.value for flag in (_PIECES, _GROUPS, _AGENTS, _DRAWS, _SEED)},
  }
  splits = tuple(base.manifest["splits"])

  def examples() -> Iterator[tuple]:
    for split in splits:
      for _, group in itertools.groupby(windows_of(base, split), key=lambda window: int(window["scene"])):
        yield split, None, list(group)
    for windows in made:
      yield SPLIT, None, windows

  domains = (*base.domains, DOMAIN)
  manifest = dataset_writer.write_dataset(
    _OUT.value, examples(), base.window, domains, splits, notes, ("windows",)
  )
  print(table(told))
  for name, count in faults.items():
    print(f"left out, {name}: {count}")
  print(
    f"{sum(map(len, made))} records of dreams among {manifest['splits'][SPLIT]['windows']} of {SPLIT}: {_OUT.value}"
  )
  return 0


def dreamed(run: Any) -> tuple[list[list[dict]], dict[str, Any], dict[str, int]]:
  """Records by scene; by trouble what became of it; what of the logs was left out."""
  import dataclasses

  from evaluation.driving import guide
  from evaluation.simulation import dream_records, dreams
  from evaluation.simulation.batches import simulator_of
  from evaluation.simulation.scenarios import make_scenarios
  from evaluation.simulation.simulator import Simulation
  from experiments.progress import Progress

  shape = run.dataset.window
  observed = round(_OBSERVED_S / shape.dt)
  steps = dreams.FORCED + shape.steps
  small = dataclasses.replace(shape, agents=_AGENTS.value)
  scenarios = make_scenarios(
    run.dataset.scenes(SPLIT), small, observed, steps, _PIECES.value, _GROUPS.value, _SEED.value
  )
  how = Simulation(observed, shape.steps, steps, shape.dt, temperature=1.0, top_p=1.0, cached=True)
  simulate = simulator_of(run.task, run.weights, scenarios, how, _TOGETHER, _SEED.value, guide.of_all)
  judge = dreams.make_judge(scenarios)
  found = {}
  kinds = dreams.troubles(scenarios)
  with Progress(len(kinds), "dreams", unit="trouble") as bar:
    for k, (name, forced) in enumerate(kinds.items()):
      draws = range(k * _DRAWS.value, (k + 1) * _DRAWS.value)
      found[name] = dreams.dream(scenarios, simulate, forced, draws, judge)
      bar.update(1)
  made = dream_records.records(scenarios, list(found.values()), shape, len(run.dataset.domains))
  return made, {name: dreams.tally(one) for name, one in found.items()}, scenarios.faults


def windows_of(dataset: Any, split: str) -> Iterator[dict]:
  """The training records of a dataset as they were written."""
  import numpy as np

  from data.records import row_dtype

  encoded, row = dataset.records("windows", split), row_dtype(dataset.window.parts["windows"])
  for index in range(len(encoded)):
    record = np.frombuffer(encoded[index], row)[0]
    yield {name: record[name] for name in row.names or ()}


def table(told: dict[str, Any]) -> str:
  """What the program prints: by trouble, how its ways out are, on average and the best of them."""
  columns = list(next(iter(told.values())))
  lines = [f"{'trouble':<14}" + "".join(f"{name:>14}" for name in columns)]
  for trouble, values in told.items():
    cells = [f"{v:.3f}" if isinstance(v, float) else "-" if v is None else str(v) for v in values.values()]
    lines.append(f"{trouble:<14}" + "".join(f"{cell:>14}" for cell in cells))
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
