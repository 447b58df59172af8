"""AdamW with warm-up schedules and learning rates that transfer across width.

Decoupled weight decay: I. Loshchilov, F. Hutter, arXiv:1711.05101; never on norms, biases and embeddings.
Width transfer (muP for Adam): G. Yang et al., "Tensor Programs V", arXiv:2203.03466: a matrix whose fan-in
is the width w learns at rate * base_width / w, inputs and embeddings at the plain rate.

What a parameter is is read off its name, all of it or what follows the last underscore:

  scale, bias, rate, skip       no decay, the plain rate: norms, biases, what a recurrence forgets and hands on
  table, place, token, tokens   the same: rows that are looked up, or shown in place of something
  stem, patch, point            decay, the plain rate: matrices whose fan-in is the data's, not the width
  anything else                 decay, rate * base_width / w
"""

import jax
import optax

from experiments.config import Optimizer

_COOLDOWN = 5  # one step in so many; A. Hägele et al., arXiv:2405.18392
_UNDECAYED = ("scale", "bias", "rate", "skip", "table", "place", "token", "tokens")
_INPUTS = ("stem", "patch", "point")
# The motion model's tables and its input matrix are older than the rule; their names are in its checkpoints.
_MOTION_TABLES = (
  "type",
  *(f"{table}{part}" for table in ("before", "last", "bias") for part in ("", "_0", "_1")),
)
_MOTION_INPUTS = ("stem_up",)


def schedule(config: Optimizer, steps: int) -> optax.Schedule:
  """Step to learning rate: linear warm-up, then cosine, linear, or constant with a linear last fifth."""
  peak, end = config.learning_rate, config.learning_rate * config.final
  warmup = max(1, round(config.warmup * steps))
  rest = max(1, steps - warmup)
  if config.schedule == "cosine":
    after = optax.cosine_decay_schedule(peak, rest, alpha=config.final)
  elif config.schedule == "linear":
    after = optax.linear_schedule(peak, end, rest)
  else:  # warm-up, stable, decay
    cooldown = max(1, rest // _COOLDOWN)
    after = optax.linear_schedule(peak, end, cooldown, transition_begin=rest - cooldown)
  return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimizer(config: Optimizer, steps: int, width: int) -> optax.GradientTransformation:
  """Clip, Adam, decoupled decay, width multipliers, schedule."""
  ratio = config.base_width / width if config.base_width else 1.0

  def widths(updates):
    return _by_name(updates, lambda name: 1.0 if not _decays(name) or _is_input(name) else ratio)

  return optax.chain(
    optax.clip_by_global_norm(config.clip),
    optax.scale_by_adam(b1=config.b1, b2=config.b2),
    optax.stateless(lambda updates, params: jax.tree.map(lambda u, m: u * m, updates, widths(updates))),
    optax.add_decayed_weights(config.weight_decay, mask=lambda params: _by_name(params, _decays)),
    optax.scale_by_learning_rate(schedule(config, steps)),
  )


def _decays(name: str) -> bool:
  return name.rpartition("_")[2] not in _UNDECAYED and name not in _MOTION_TABLES


def _is_input(name: str) -> bool:
  return name.rpartition("_")[2] in _INPUTS or name in _MOTION_INPUTS


def _by_name(tree, value):
  """A tree of value(parameter name); boxed parameters have their box below the name."""

  def of(path, _):
    return value(next(k.key for k in reversed(path) if isinstance(k, jax.tree_util.DictKey)))

  return jax.tree_util.tree_map_with_path(of, tree)
