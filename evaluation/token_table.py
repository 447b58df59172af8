"""A run against token baselines, by domain: python -m evaluation.token_table --run=W --out=DIR.

Held-out nats per move of the model beside unigram, bigram, repeat and constant-velocity tables fitted on the
training windows, for all and for moving agents; and under "calibration" whether the probabilities that the model
states are frequencies (evaluation/token_calibration.py). Writes OUT/tokens.json.
"""

from collections.abc import Iterator
from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_DATASET = flags.DEFINE_string(
  "dataset", "", "Where the dataset it was trained on lies now, if it has been moved."
)
_OUT = flags.DEFINE_string("out", None, "Directory for tokens.json.", required=True)

_FIELDS = ("tokens_TxA", "mask_TxA", "state_TxAxS", "moving_A", "domain", "scene")
_CHUNK = 256  # windows read at once


def main() -> int:
  from data.files import require_directory, write_json_atomic

  out = require_directory(_OUT.value, "--out") / "tokens.json"
  import numpy as np

  from data.errors import BadInput
  from data.reader import RecordSource
  from evaluation import token_calibration
  from evaluation.finite import require_finite
  from evaluation.forecasting import baselines
  from experiments import run as runs
  from models.motion import MotionModel

  run = runs.open_run(_RUN.value, _DATASET.value)
  if not isinstance(run.task.model, MotionModel):
    raise BadInput(f"is of family {run.config.family}", run.path, "give the run of a motion model")

  def windows(split: str) -> Iterator[dict[str, Any]]:
    source = RecordSource(run.dataset, split, _FIELDS)
    for start in range(0, len(source), _CHUNK):
      yield source.stacked(np.arange(start, min(start + _CHUNK, len(source))))

  domains = run.dataset.domains
  tables = baselines.fit(windows(run.config.data.train_split))
  sums = baselines.evaluate(tables, windows(run.config.data.eval_split), len(domains))
  model = run.row["loss_by_slice"]
  result: dict[str, dict[str, dict[str, float]]] = {"all": {}, "moving": {}}
  for part, rows in result.items():
    for index, domain in enumerate(domains):
      key = domain if part == "all" else f"moving/{domain}"
      if key not in model:
        continue
      rows[domain] = {"model": model[key]} | {
        name: float(parts[part][0][index] / parts[part][1][index]) for name, parts in sums.items()
      }
  fields = tuple(dict.fromkeys((*run.task.fields, *_FIELDS)))
  source = RecordSource(run.dataset, run.config.data.eval_split, fields)
  found = token_calibration.stated(run.task.model.apply, run.weights, run.task.to_batch, source)
  parts = {"all": found.domain_W >= 0} | {
    domain: found.domain_W == index for index, domain in enumerate(domains) if (found.domain_W == index).any()
  }
  calibration = {
    part: {name: token_calibration.scores(found, part, inside_W) for name, inside_W in parts.items()}
    for part in result
  }
  require_finite(calibration, run.path)
  write_json_atomic(out, result | {"calibration": calibration, "run": run.row["run_id"]})
  print(table(result))
  print()
  print(table(calibration))
  return 0


def table(result: dict[str, dict[str, dict[str, Any]]]) -> str:
  """The result as text, a block for all and one for moving agents."""
  lines = []
  for part, rows in result.items():
    names = [name for name in next(iter(rows.values())) if name != "ci95"]
    lines.append(f"{part + ' agents':<16}" + "".join(f"{name:>19}" for name in names))
    for domain, row in rows.items():
      cells = ("-" if row.get(name) is None else f"{row[name]:.4g}" for name in names)
      lines.append(f"{domain:<16}" + "".join(f"{cell:>19}" for cell in cells))
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
