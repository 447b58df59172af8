"""Clips to windows of codes, by any tokeniser of what they hold that has a vocabulary (data/clip_tokens.py)."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from data import codes, motion
from data.clip_tokens import ClipTokens
from data.clips import Clip, ClipConfig
from data.codes import CodesConfig
from data.datasets import Dataset
from data.reader import RecordSource

ACTIONS = motion.VOCABULARY + 1  # the ego's moves, and that none is known
_FIELDS = ("actions_TxF", "actions_mask_TxF", "domain", "scene")


def codes_config(clip: ClipConfig, tokens: ClipTokens) -> CodesConfig:
  """The shape of a clip's window. Tokens that may say nothing have one code more, the last, which says so."""
  config = CodesConfig.of(tokens.tokeniser, clip.steps, ACTIONS)
  return dataclasses.replace(config, codes=config.codes + tokens.padded)


def examples(dataset: Dataset, config: CodesConfig, tokens: ClipTokens) -> Iterator[tuple[str, None, list]]:
  """(split, None, windows) of every scene of the clips, one window of each clip, for `data.dataset_writer`.

  Splits stay as they are: what is held out stays held out. Window i of a split is its clip i.
  """
  for split in dataset.manifest["splits"]:
    source = RecordSource(dataset, split, (*tokens.fields, *_FIELDS))
    clips = (
      {name: value[0] for name, value in source.stacked(np.array([index])).items()}
      for index in range(len(source))
    )
    for _, members in itertools.groupby(clips, key=lambda clip: int(clip["scene"])):
      yield split, None, [_window(clip, config, tokens) for clip in members]


def _window(clip: Clip, config: CodesConfig, tokens: ClipTokens) -> codes.Window:
  made = tokens.encode(clip)
  frames = np.where(made.mask, made.values, config.codes - 1).reshape(config.steps, config.places)
  actions = codes.clip_actions(clip["actions_TxF"], clip["actions_mask_TxF"], motion.VOCABULARY)
  (window,) = codes.windows_of(frames, actions, config, config.steps, int(clip["domain"]))
  return window
