"""What `config.loss` holds, by objective. An objective that is added gets its dataclass and its line in LOSSES here.

No JAX: a mistyped key is answered before anything heavy is imported.
"""

import dataclasses

from experiments.ranges import Count, Least0, Share


@dataclasses.dataclass(frozen=True)
class NextToken:
  """objectives/next_token.py."""

  z_weight: Least0


@dataclasses.dataclass(frozen=True)
class Masked:
  """objectives/masked.py, objectives/masks.py and what reconstructs (models/masked_config.py)."""

  ratio: Share
  block: Count  # edge of a block of tokens that are hidden together
  tube: bool  # the same places at all steps
  standardise: bool  # pixels of a patch, by their own mean and deviation
  decoder_layers: Count


LOSSES: dict[str, type] = {"next_token": NextToken, "masked": Masked}
