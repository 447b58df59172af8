"""What `config.loss` holds, by objective. An objective that is added gets its dataclass and its line in LOSSES here.

No JAX: a mistyped key is answered before anything heavy is imported.
"""

import dataclasses

from experiments.ranges import Least0, Positive, Share


@dataclasses.dataclass(frozen=True)
class NextToken:
  """objectives/next_token.py."""

  z_weight: Least0


@dataclasses.dataclass(frozen=True)
class Distillation:
  """objectives/distillation.py, in place of a share of next_token."""

  teacher: str  # directory of the finished run that teaches
  weight: Share  # of the teacher's answers; the rest is the logged moves'
  temperature: Positive
  z_weight: Least0


LOSSES: dict[str, type] = {"next_token": NextToken, "distillation": Distillation}
