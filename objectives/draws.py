"""Random draws of records: what a record gets hangs on its position, not on the batch or the mesh it lies in.

  key_i = fold_in(key, i),    time_i = frac(u + i / golden ratio),  u ~ U[0, 1)

i is the record's position: "position_B" int32 where the batch has it (evaluation: the place in the split), or else
its row in the global batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_GOLDEN = 2654435769  # 2^32 / golden ratio: products wrap around, so that large positions lose no digits
_ASIDE = 2**32 - 1  # no record has this position, and no key is split into as many


def aside(key: jax.Array) -> jax.Array:
  """A key for draws beside a loss that is given `key` itself.

  fold_in(key, i) is also split(key)[i], and the key of record i: a small i would share its stream with the loss.
  """
  return jax.random.fold_in(key, _ASIDE)


def positions(batch: dict) -> jax.Array:
  """int32 [B]. batch: with "real_B"."""
  return batch.get("position_B", jnp.arange(len(batch["real_B"]), dtype=jnp.int32))


def keys(key: jax.Array, batch: dict) -> jax.Array:
  """Typed keys [B], one of each record."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, positions(batch))


def by_record(draw: Callable, key: jax.Array, batch: dict, x_B: jax.Array) -> jax.Array:
  """draw(key, x [B, ...]) -> [B, ...], called for every record by itself, as a batch of one with its own key."""
  return jax.vmap(lambda own, x: draw(own, x[None])[0])(keys(key, batch), x_B)


def normal(key: jax.Array, batch: dict, like: jax.Array) -> jax.Array:
  """N(0, 1) of the shape of `like` [B, ...]."""
  return by_record(lambda own, x: jax.random.normal(own, x.shape), key, batch, like)


def standard(key: jax.Array, batch: dict, like: jax.Array, kind: str) -> jax.Array:
  """The "gaussian" or "laplace" density of scale 1, of the shape of `like` [B, ...]."""
  draw = {"gaussian": jax.random.normal, "laplace": jax.random.laplace}[kind]
  return by_record(lambda own, x: draw(own, x.shape), key, batch, like)


def times(key: jax.Array, batch: dict) -> jax.Array:
  """Times [B] in [0, 1), each uniform, together evenly spread: less noise in the loss, and no bias.

  Evenly spread times: D. Kingma et al., "Variational Diffusion Models", NeurIPS 2021, arXiv:2107.00630, appendix I.1.
  """
  turns = positions(batch).astype(jnp.uint32) * jnp.uint32(_GOLDEN)
  return (jax.random.uniform(key) + turns.astype(jnp.float32) / 2.0**32) % 1.0
