"""What `config.loss` holds, by objective. An objective that is added gets its dataclass and its line in LOSSES here.

No JAX: a mistyped key is answered before anything heavy is imported.
"""

import dataclasses

from experiments.ranges import Decay, Least0


@dataclasses.dataclass(frozen=True)
class NextToken:
  """objectives/next_token.py."""

  z_weight: Least0


@dataclasses.dataclass(frozen=True)
class Reconstruction:
  """objectives/reconstruction.py, and what moves a learned codebook (models/vq.py)."""

  commitment: Least0
  decay: Decay  # of the codebook's moving averages, per step
  least: Least0  # uses per step below which a code is put onto a vector of the batch


LOSSES: dict[str, type] = {"next_token": NextToken, "reconstruction": Reconstruction}
