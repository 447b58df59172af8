"""Codes to a dataset: python -m data.build_codes --tokens=FILE | --clips=DIR --out=DIR.

`--tokens` is a commaVQ file: one stretch of time for each split, with a gap between them. `--clips` is a dataset of
clips: what --of names is its codes (`data.count_tokens` shows all), its splits are kept. Every window is one training
record.
"""

from typing import Any

from absl import flags

from experiments import program

_TOKENS = flags.DEFINE_string("tokens", "", "The tokens.npy of commaVQ.")
_CLIPS = flags.DEFINE_string("clips", "", "Dataset of clips.")
_OF = flags.DEFINE_string("of", "cells", "What of the clips: cells, boxes, lines, pillars or actions.")
_OUT = flags.DEFINE_string("out", None, "Directory to make.", required=True)
_STEPS = flags.DEFINE_integer("window_steps", 4, "Frames per window of commaVQ.", lower_bound=2)
_EVERY = flags.DEFINE_integer("every", 1, "Keep one frame in so many of commaVQ.", lower_bound=1)
_GAP = flags.DEFINE_integer("gap_frames", 40, "Frames left out between splits of commaVQ.", lower_bound=0)

FRACTIONS = {"train": 0.7, "tune": 0.1, "validation": 0.2}


def main() -> int:
  from data import dataset_writer
  from data.errors import BadInput

  if bool(_TOKENS.value) == bool(_CLIPS.value):
    raise BadInput("neither or both are given", "--tokens and --clips", "give one of them")
  dataset_writer.require_new(_OUT.value)
  examples, config, domains, notes = _clips() if _CLIPS.value else _commavq()
  splits = tuple(dict.fromkeys(split for split, _, _ in examples))
  manifest = dataset_writer.write_dataset(
    _OUT.value, examples, config, domains, splits, notes, (config.kind,)
  )
  for name, count in manifest["splits"].items():
    print(f"{name:<11}{count[config.kind]:>8} windows {count['tokens']:>10} codes")
  return 0


def _commavq() -> tuple[list, Any, tuple, dict]:
  """Training windows start at every kept frame, those of other splits do not overlap.

  The file is one recording, and a split's stretch of it one scene: nothing in it is independent of the rest.
  """
  import numpy as np

  from data import codes

  images = codes.read_commavq(_TOKENS.value)
  frames = codes.COMMAVQ.encode(images).values.reshape(len(images), -1)
  config = codes.CodesConfig.of(codes.COMMAVQ, _STEPS.value, actions=1)
  examples = []
  for split, part in codes.blocks(len(frames), FRACTIONS, _GAP.value, _TOKENS.value).items():
    windows = []
    for first in range(_EVERY.value):  # every phase of the kept frames, so that no frame goes unused
      kept = frames[part][first :: _EVERY.value]
      stride = 1 if split == "train" else config.steps
      windows += codes.windows_of(kept, np.zeros(len(kept), int), config, stride, 0)
    examples.append((split, None, windows))
  arguments = {"window_steps": _STEPS.value, "every": _EVERY.value, "gap_frames": _GAP.value}
  return examples, config, ("commavq",), {"source": "commavq", "arguments": arguments}


def _clips() -> tuple[list, Any, tuple, dict]:
  """64 x 64 raw cells are 4,096 codes a frame; 16 boxes of eight quantities are 128."""
  from data import clip_codes, clip_tokens, datasets
  from data.errors import BadInput

  dataset = datasets.open_dataset(_CLIPS.value)
  known = clip_tokens.clip_tokens(dataset.clip)
  if _OF.value not in known:
    raise BadInput(f"the clips have no {_OF.value!r}", "--of", f"choose one of {', '.join(known)}")
  tokens = known[_OF.value]
  config = clip_codes.codes_config(dataset.clip, tokens)
  examples = list(clip_codes.examples(dataset, config, tokens))
  return examples, config, dataset.domains, {"source": f"raw {_OF.value}", "clips": dataset.fingerprint}


if __name__ == "__main__":
  program.run(main)
