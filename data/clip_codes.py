"""Clips to windows of codes, by whatever turns a clip's cells into frames of codes."""

from collections.abc import Callable, Iterator

import numpy as np

from data import codes, motion
from data.codes import CodesConfig
from data.datasets import Dataset
from data.reader import RecordSource

ACTIONS = motion.VOCABULARY + 1  # the ego's moves, and that none is known
_FIELDS = ("cells_TxHxW", "actions_TxF", "actions_mask_TxF", "domain")


def examples(dataset: Dataset, config: CodesConfig, encode: Callable) -> Iterator[tuple[str, None, list]]:
  """(split, None, windows) of every clip: one window each, for `data.dataset_writer`.

  encode: cells uint8 [1, T, H, W] to codes [1, T, S]. Splits stay as they are: what is held out stays held out.
  """
  for split in dataset.manifest["splits"]:
    source = RecordSource(dataset, split, _FIELDS)
    for index in range(len(source)):
      clip = source.stacked(np.array([index]))
      frames = np.asarray(encode(clip["cells_TxHxW"]))[0]
      actions = codes.clip_actions(clip["actions_TxF"][0], clip["actions_mask_TxF"][0], motion.VOCABULARY)
      windows = codes.windows_of(frames, actions, config, config.steps, int(clip["domain"][0]))
      yield split, None, windows
