"""What a model costs, part by part: parameters by convention, training FLOPs by matrix product, and 6 N D beside them.

Per position, with D the width, L layers (half over T steps, half over A agents), F features, V rows of the move
tables, and 2 FLOPs per multiply-add, a forward pass takes

  stem 8 D (F + D)    attention projections 8 L D^2    attention scores 2 L D (T + A)    MLP 16 L D^2    logits 2 D V

and the backward pass twice as much, but for the first product of the stem: its input is data and has no gradient.
Scores and values count every key of the axis, as they are computed before masking. C = 6 N D (J. Kaplan et al.,
arXiv:2001.08361) leaves out scores and logits and counts norms and biases as if they multiplied.
"""

import dataclasses

from models.motion_config import MotionConfig

PARTS = ("stem", "attention_projections", "attention_scores", "mlp", "logits")


@dataclasses.dataclass(frozen=True)
class Count:
  """One model, counted.

  Attributes:
    params: N, without embeddings and the output head. params_embedding: those. params_total: both.
    flops: training FLOPs per position, part (PARTS) to count; what a compiled, unrolled step multiplies.
    recomputed: FLOPs per position that `remat` adds to the step; no run is credited with them.
    flops_config: the count that run tables carry (`flops_per_token`): the stem's as if its input had a gradient.
    flops_6n: 6 N.
  """

  params: int
  params_embedding: int
  params_total: int
  flops: dict[str, int]
  recomputed: int
  flops_config: int
  flops_6n: int

  @property
  def params_active(self) -> int:
    """What one token meets: all of it, as no layer is routed."""
    return self.params_total

  @property
  def flops_per_token(self) -> int:
    return sum(self.flops.values())

  @property
  def discrepancy(self) -> float:
    """What 6 N misses of the exact count, as a share of it; negative when it says too much."""
    return 1.0 - self.flops_6n / self.flops_per_token

  @property
  def shares(self) -> dict[str, float]:
    return {part: flops / self.flops_per_token for part, flops in self.flops.items()}


def count(config: MotionConfig) -> Count:
  """Counts from the shapes alone; nothing is traced or compiled."""
  total, params = config.param_count(), config.non_embedding_params()
  forward = _forward(config)
  flops = {part: 3 * forward[part] for part in PARTS}
  flops["stem"] -= config.stem_flops_per_token()
  return Count(
    params=params,
    params_embedding=total - params,
    params_total=total,
    flops=flops,
    recomputed=_recomputed(config, forward),
    flops_config=config.flops_per_token(),
    flops_6n=6 * params,
  )


def _forward(config: MotionConfig) -> dict[str, int]:
  d, units, attended = config.width, config.mlp_units, config.attended
  return {
    "stem": 2 * units * (config.features + d),
    "attention_projections": config.layers * 8 * d * attended,
    "attention_scores": config.layers * 2 * attended * (config.steps + config.agents),
    "mlp": config.layers * 4 * d * units,
    "logits": 2 * d * config.rows,
  }


def _recomputed(config: MotionConfig, forward: dict[str, int]) -> int:
  """ "full" runs a pair of layers again from its input, but for its last product, which no gradient needs.

  "dots" keeps what projections and MLP give; scores and values have a batch axis and are made again.
  """
  if config.remat == "none":
    return 0
  if config.remat == "dots":
    return forward["attention_scores"]
  blocks = forward["attention_projections"] + forward["attention_scores"] + forward["mlp"]
  return blocks - config.layers // 2 * 2 * config.width * config.mlp_units
