"""Masks: which tokens of a frame are hidden. Exact in number, and never a token that is not there.

Every frame hides exactly round(ratio * valid tokens) of its tokens, those of the lowest scores. The scores make
the kind of mask:

| mask | block | tube | a score for every |
|---|---|---|---|
| random: K. He et al., MAE, arXiv:2111.06377 | 1 | no | token |
| block: H. Bao et al., BEiT, arXiv:2106.08254 | > 1 | no | square of block x block places, cut at a random offset |
| tube: Z. Tong et al., VideoMAE, arXiv:2203.12602 | any | yes | the same, kept over time |

At most one block of a frame is hidden in part: the one at which the number is reached. A tube hides exactly
round(ratio * places) places, where a place counts when its token is valid at any time.
"""

import itertools

import jax
import jax.numpy as jnp


def hide(
  key: jax.Array, valid_BxTxS: jax.Array, ratio: float, grid: tuple[int, int, int], block: int, tube: bool
) -> jax.Array:
  """Bool [B, T, S]: the tokens that are hidden.

  Args:
    key: typed key. valid_BxTxS: which tokens there are.
    ratio: share of the valid tokens to hide, 0 to 1.
    grid: (planes, rows, columns), S of them in this order: a plane is a camera, or the ground.
    block: edge of a block in places. tube: the same places at all times.
  """
  b, t, _ = valid_BxTxS.shape
  if tube:
    places_Bx1xS = valid_BxTxS.any(1, keepdims=True)
    hidden_Bx1xS = _lowest(_scores(key, (b, 1), grid, block), places_Bx1xS, ratio)
    return hidden_Bx1xS & valid_BxTxS
  return _lowest(_scores(key, (b, t), grid, block), valid_BxTxS, ratio)


def visible_slots(tokens: int, ratio: float) -> int:
  """The most tokens that `hide` leaves visible in a frame of so many: the length of a gather of fixed size."""
  return tokens - round(ratio * tokens)


def _scores(key, frames: tuple[int, int], grid: tuple[int, int, int], block: int):
  """Uniform scores [B, T, S], one for every block of places."""
  planes, rows, columns = grid
  where, what = jax.random.split(key)
  offset_BxTx2 = jax.random.randint(where, (*frames, 2), 0, block)
  row_BxTxR = (offset_BxTx2[..., :1] + jnp.arange(rows)[None, None]) // block
  column_BxTxC = (offset_BxTx2[..., 1:] + jnp.arange(columns)[None, None]) // block
  tall, wide = rows // block + 2, columns // block + 2
  plane = jnp.arange(planes)[None, None, :, None, None]
  index = (plane * tall + row_BxTxR[:, :, None, :, None]) * wide + column_BxTxC[:, :, None, None, :]
  scores = jax.random.uniform(what, (*frames, planes * tall * wide))
  return jnp.take_along_axis(scores, index.reshape(*frames, -1), axis=-1)


def _lowest(score, valid, ratio: float):
  """Bool: the round(ratio * n) of the n valid entries of the last axis that score lowest."""
  # A table, as a product in float32 can round to the other side.
  counts = jnp.asarray([round(ratio * n) for n in range(score.shape[-1] + 1)])[valid.sum(-1)]
  order = jnp.argsort(jnp.where(valid, score, jnp.inf), axis=-1, stable=True)
  rank = jnp.argsort(order, axis=-1, stable=True)
  return rank < counts[..., None]


def hide_by_sensor(
  key: jax.Array,
  valid_BxTxS: jax.Array,
  grids: tuple[tuple[int, int, int], ...],
  ratio: float,
  block: int,
  tube: bool,
) -> jax.Array:
  """`hide` within the tokens of every sensor, which lie one after the other along S, one grid each.

  A sensor of a single token cannot be hidden in part and is always seen.
  """
  hidden, start = [], 0
  for i, grid in enumerate(grids):
    tokens = grid[0] * grid[1] * grid[2]
    part = valid_BxTxS[:, :, start : start + tokens]
    own = jax.random.fold_in(key, i)
    hidden.append(hide(own, part, ratio, grid, block, tube) if tokens > 1 else jnp.zeros_like(part))
    start += tokens
  return jnp.concatenate(hidden, axis=-1)


def drop_sensors(key: jax.Array, valid_BxTxS: jax.Array, tokens: tuple[int, ...], rate: float) -> jax.Array:
  """Bool [B, T, S]: every token of the sensors that each sample loses, each by itself with probability `rate`.

  Where all n that have a valid token would be lost, one of them at random is kept, so that no sample is left with
  nothing: a sensor is lost with probability rate - rate^n / n. N. Neverova et al., ModDrop, arXiv:1501.00102.
  """
  keys = jax.random.split(key)
  bounds = [sum(tokens[:i]) for i in range(len(tokens) + 1)]
  there = [valid_BxTxS[:, :, a:b].any((1, 2)) for a, b in itertools.pairwise(bounds)]
  present_BxM = jnp.stack(there, axis=1)
  chance = jnp.where(present_BxM, jax.random.uniform(keys[0], present_BxM.shape), -1.0)
  kept = jax.nn.one_hot(chance.argmax(1), len(tokens), dtype=bool)
  lost_BxM = jax.random.bernoulli(keys[1], rate, present_BxM.shape) & present_BxM
  bare_B = (lost_BxM == present_BxM).all(1)
  lost_BxM &= ~(bare_B[:, None] & kept)
  lost_BxS = jnp.repeat(lost_BxM, jnp.asarray(tokens), axis=1, total_repeat_length=sum(tokens))
  return lost_BxS[:, None] & valid_BxTxS
