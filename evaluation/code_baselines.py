"""What codes can be told without a model: python -m evaluation.code_baselines --dataset=DIR [--run=DIR].

In nats per code of a split's windows: the entropy of its own unigrams, which nothing that ignores context can beat;
the unigrams of the training split; and, for frames with one before them, copying: with the training split's chance
that a code stays, the code of the same place a frame ago, else its unigrams. A run is set beside them.
"""

import json

from absl import flags

from experiments import program

_DATASET = flags.DEFINE_string("dataset", None, "Dataset of codes.", required=True)
_SPLIT = flags.DEFINE_string("split", "validation", "Split that is held out.")
_RUN = flags.DEFINE_string("run", "", "Run directory whose held-out loss is shown beside.")


def main() -> int:
  import pathlib

  from data import datasets
  from data.files import read_json
  from data.reader import RecordSource
  from evaluation.codes.tables import CodeCounts, baselines

  dataset = datasets.open_dataset(_DATASET.value)

  def counts(split: str) -> CodeCounts:
    pieces = RecordSource(dataset, split, ("codes_TxS",)).pieces()
    return CodeCounts.of(
      (piece["codes_TxS"] for piece in pieces), dataset.manifest["codes"]["codes"], ahead=1
    )

  found = baselines(counts("train"), counts(_SPLIT.value))
  if _RUN.value:
    row = read_json(pathlib.Path(_RUN.value) / "result.json", "give a finished run")
    found |= {"run": row["loss"], "run_later": row["loss_by_slice"]["later"]}
  print(json.dumps(found, indent=1))
  return 0


if __name__ == "__main__":
  program.run(main)
