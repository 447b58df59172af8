"""What codes can be told without a model: python -m evaluation.code_baselines --dataset=DIR [--run=DIR].

In nats per code of a split's windows: the entropy of its own unigrams, which nothing that ignores context can beat;
the unigrams of the training split; and, for frames with one before them, copying: with the training split's chance
that a code stays, the code of the same place a frame ago, else its unigrams. A run is set beside them.
"""

import json
from typing import Any

from absl import flags

from experiments import program

_DATASET = flags.DEFINE_string("dataset", None, "Dataset of codes.", required=True)
_SPLIT = flags.DEFINE_string("split", "validation", "Split that is held out.")
_RUN = flags.DEFINE_string("run", "", "Run directory whose held-out loss is shown beside.")


def main() -> int:
  import pathlib

  import numpy as np

  from data import datasets
  from data.files import read_json
  from data.reader import RecordSource

  dataset = datasets.open_dataset(_DATASET.value)

  def frames(split: str) -> Any:
    source = RecordSource(dataset, split, ("codes_TxS",))
    return source.stacked(np.arange(len(source)))["codes_TxS"].astype(int)

  found = baselines(frames("train"), frames(_SPLIT.value), dataset.manifest["codes"]["codes"])
  if _RUN.value:
    row = read_json(pathlib.Path(_RUN.value) / "result.json", "give a finished run")
    found |= {"run": row["loss"], "run_later": row["loss_by_slice"]["later"]}
  print(json.dumps(found, indent=1))
  return 0


def baselines(train_NxTxS: Any, held_out_NxTxS: Any, codes: int) -> dict[str, float]:
  """Nats per code; "stays" are shares of codes, of both splits. Unigrams of training start at one of each."""
  import numpy as np

  own = np.bincount(held_out_NxTxS.ravel(), minlength=codes) / held_out_NxTxS.size
  counts = np.bincount(train_NxTxS.ravel(), minlength=codes) + 1
  log_unigram = np.log(counts / counts.sum())
  stays = (train_NxTxS[:, 1:] == train_NxTxS[:, :-1]).mean()
  same = held_out_NxTxS[:, 1:] == held_out_NxTxS[:, :-1]
  copied = (1 - stays) * np.exp(log_unigram[held_out_NxTxS[:, 1:]]) + stays * same
  return {
    "own_unigram_entropy": float(-(own[own > 0] * np.log(own[own > 0])).sum()),
    "train_unigrams": float(-log_unigram[held_out_NxTxS].mean()),
    "copy_or_unigram_later": float(-np.log(copied).mean()),
    "stays_train": float(stays),
    "stays": float(same.mean()),
  }


if __name__ == "__main__":
  program.run(main)
