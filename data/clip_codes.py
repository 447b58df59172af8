"""Clips to windows of codes, by any tokeniser of a clip's cells."""

from collections.abc import Iterator

import numpy as np

from data import codes, motion
from data.codes import CodesConfig
from data.datasets import Dataset
from data.reader import RecordSource
from data.tokens import Tokeniser

ACTIONS = motion.VOCABULARY + 1  # the ego's moves, and that none is known
_FIELDS = ("cells_TxHxW", "actions_TxF", "actions_mask_TxF", "domain")


def examples(dataset: Dataset, config: CodesConfig, tokeniser: Tokeniser) -> Iterator[tuple[str, None, list]]:
  """(split, None, windows) of every clip: one window each, for `data.dataset_writer`.

  Splits stay as they are: what is held out stays held out. Window i of a split is its clip i.
  """
  for split in dataset.manifest["splits"]:
    source = RecordSource(dataset, split, _FIELDS)
    for index in range(len(source)):
      clip = source.stacked(np.array([index]))
      frames = tokeniser.encode(clip["cells_TxHxW"][0]).values.reshape(config.steps, config.places)
      actions = codes.clip_actions(clip["actions_TxF"][0], clip["actions_mask_TxF"][0], motion.VOCABULARY)
      yield split, None, codes.windows_of(frames, actions, config, config.steps, int(clip["domain"][0]))
