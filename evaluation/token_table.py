"""A run against token baselines, by domain: python -m evaluation.token_table --run=W --out=DIR.

Held-out nats per move of the model beside unigram, bigram, repeat and constant-velocity tables fitted on the
training windows, for all and for moving agents. Writes OUT/tokens.json.
"""

from collections.abc import Iterator
from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_OUT = flags.DEFINE_string("out", None, "Directory for tokens.json.", required=True)

_FIELDS = ("tokens_TxA", "mask_TxA", "state_TxAxS", "moving_A", "domain")
_CHUNK = 256  # windows read at once


def main() -> int:
  from data.files import require_directory, write_json_atomic

  out = require_directory(_OUT.value, "--out") / "tokens.json"
  import numpy as np

  from data.reader import RecordSource
  from evaluation.forecasting import baselines
  from experiments import run as runs

  run = runs.open_run(_RUN.value)

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
  write_json_atomic(out, result | {"run": run.row["run_id"]})
  print(table(result))
  return 0


def table(result: dict[str, dict[str, dict[str, float]]]) -> str:
  """The result as text, a block for all and one for moving agents."""
  lines = []
  for part, rows in result.items():
    names = list(next(iter(rows.values())))
    lines.append(f"{part + ' agents':<16}" + "".join(f"{name:>19}" for name in names))
    lines += [
      f"{domain:<16}" + "".join(f"{row[name]:>19.3f}" for name in names) for domain, row in rows.items()
    ]
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
