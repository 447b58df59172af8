"""A small dataset of random clips."""

import pathlib

from data import dataset_writer
from data.clips import ClipConfig
from experiments.task import batch_name
from tests.data.random_clips import random_clips

DOMAINS = ("apron", "rural", "suburb")  # as random clips number them


def write(out: pathlib.Path, config: ClipConfig, counts: dict[str, int]) -> dict:
  """`counts`: split to number of clips, each of a scene of its own. Returns the manifest."""

  def examples():
    for seed, (split, count) in enumerate(counts.items()):
      batch = random_clips(config, count, seed)
      for i in range(count):
        yield split, None, [{name: batch[batch_name(name)][i] for name in config.spec}]

  return dataset_writer.write_dataset(out, examples(), config, DOMAINS, tuple(counts), {}, ("clips",))
