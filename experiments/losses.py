"""What `config.loss` holds, by objective. An objective that is added gets its dataclass and its line in LOSSES here.

No JAX: a mistyped key is answered before anything heavy is imported.
"""

import dataclasses

from experiments.ranges import Least0


@dataclasses.dataclass(frozen=True)
class NextToken:
  """objectives/next_token.py."""

  z_weight: Least0


LOSSES: dict[str, type] = {"next_token": NextToken}
