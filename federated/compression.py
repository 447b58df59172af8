"""Updates in fewer bytes: codecs whose messages are the arrays that are sent, so that bytes are counted, not estimated.

  top_k        the k entries of greatest magnitude, with their places              arXiv:1704.05021
  one_of       of every 32 entries the greatest, in a byte: five bits of place, three of value
  sign         one bit an entry and the mean magnitude of its block                arXiv:1901.09847
  stochastic   b bits an entry, rounded up or down at random without bias (QSGD)   arXiv:1610.02132
  rotated      the same after a random rotation, which evens entries out           arXiv:1611.00429
               with signs and |x|^2 / |x|_1 for a scale hardly biased (DRIVE)      arXiv:2105.08339
  power        matrices as two of low rank, by one step of subspace iteration      arXiv:1905.13727

With error feedback a client adds what it could not send to what it sends next (arXiv:1901.09847): what arrives over
many rounds then adds up to what was meant.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from federated.rounds import Algorithm, Transmit, Tree

BLOCK = 1024  # entries that share a scale


@dataclasses.dataclass(frozen=True)
class Codec:
  """encode: (update, state, key) -> (message, state): a pytree of arrays, as small as they are sent.

  decode: (message, like) -> update of the shapes of `like`. state_init: like -> state, {} for codecs without.
  """

  encode: Callable[[Tree, Tree, jax.Array], tuple[Tree, Tree]]
  decode: Callable[[Tree, Tree], Tree]
  state_init: Callable[[Tree], Tree] = lambda like: {}


def _flat(tree: Tree) -> tuple[jax.Array, Callable]:
  flat, back = ravel_pytree(tree)
  return flat, back


def top_k(share: float, bits: int = 32) -> Codec:
  """A share of all entries, values in float32 or float16 (bits)."""
  kind = {32: jnp.float32, 16: jnp.float16}[bits]

  def encode(update, state, key):
    del key
    flat, _ = _flat(update)
    k = max(1, round(share * flat.size))
    _, place = jax.lax.top_k(jnp.abs(flat), k)
    return {"place": place.astype(_index(flat.size)), "value": flat[place].astype(kind)}, state

  def decode(message, like):
    flat, back = _flat(like)
    return back(
      jnp.zeros_like(flat).at[message["place"].astype(jnp.int32)].set(message["value"].astype(flat.dtype))
    )

  return Codec(encode, decode)


def _index(size: int):
  return jnp.uint16 if size <= 1 << 16 else jnp.uint32


def _blocks(flat: jax.Array) -> jax.Array:
  """[blocks, BLOCK], the last filled up with zeros."""
  return jnp.pad(flat, (0, -flat.size % BLOCK)).reshape(-1, BLOCK)


ONE_OF = 32
_VALUES = (0.0, 0.25, 0.5, 1.0)  # of the greatest value in its group


def one_of() -> Codec:
  """A block is every n-th entry, so that it has part in all leaves; 32 blocks share a scale in float16."""

  def encode(update, state, key):
    del key
    flat = _flat(update)[0]
    blocks = jnp.pad(flat, (0, -flat.size % ONE_OF)).reshape(ONE_OF, -1).T
    place = jnp.abs(blocks).argmax(1)
    value = jnp.take_along_axis(blocks, place[:, None], 1)[:, 0]
    scale = _grouped(jnp.abs(value)).max(1).astype(jnp.float16)
    share = _grouped(jnp.abs(value)) / jnp.maximum(scale.astype(jnp.float32), 1e-30)[:, None]
    level = jnp.abs(share[..., None] - jnp.asarray(_VALUES)[None, None]).argmin(-1).reshape(-1)[: len(value)]
    return {"entries": ((place << 3) | (level << 1) | (value < 0)).astype(jnp.uint8), "scale": scale}, state

  def decode(message, like):
    flat, back = _flat(like)
    entries = message["entries"].astype(jnp.int32)
    signed = jnp.asarray(_VALUES)[(entries >> 1) & 3] * jnp.where(entries & 1, -1.0, 1.0)
    value = (_grouped(signed) * message["scale"].astype(jnp.float32)[:, None]).reshape(-1)[: len(signed)]
    blocks = jnp.zeros((len(entries), ONE_OF)).at[jnp.arange(len(entries)), entries >> 3].set(value)
    return back(blocks.T.reshape(-1)[: flat.size].astype(flat.dtype))

  return Codec(encode, decode)


def _grouped(value: jax.Array) -> jax.Array:
  """[groups, ONE_OF], the last filled up with zeros."""
  return jnp.pad(value, (0, -value.size % ONE_OF)).reshape(-1, ONE_OF)


def sign(rotate: int | None = None) -> Codec:
  """rotate: seed of a rotation that both ends know; None: none."""

  def encode(update, state, key):
    del key
    blocks = _blocks(_flat(update)[0])
    size = jnp.abs(blocks).mean(1)
    if rotate is not None:
      size = (blocks**2).mean(1)
      blocks = _rotated(blocks, rotate)
      size = size / jnp.maximum(jnp.abs(blocks).mean(1), 1e-30)
    return {"bits": jnp.packbits(blocks >= 0, axis=1), "scale": size}, state

  def decode(message, like):
    flat, back = _flat(like)
    blocks = jnp.where(jnp.unpackbits(message["bits"], axis=1), 1.0, -1.0) * message["scale"][:, None]
    if rotate is not None:
      blocks = _rotated_back(blocks, rotate)
    return back(blocks.reshape(-1)[: flat.size].astype(flat.dtype))

  return Codec(encode, decode)


def stochastic(bits: int, rotate: int | None = None) -> Codec:
  """bits: 8, 4 or 2. rotate: seed of a rotation that both ends know; None: none."""
  steps = 2 ** (bits - 1) - 1 if bits > 2 else 1

  def encode(update, state, key):
    blocks = _blocks(_flat(update)[0])
    if rotate is not None:
      blocks = _rotated(blocks, rotate)
    scale = jnp.abs(blocks).max(1) / steps
    level = blocks / jnp.where(scale > 0, scale, 1.0)[:, None]
    low = jnp.floor(level)
    up = jax.random.uniform(key, level.shape) < level - low
    whole = jnp.clip(low + up, -steps, steps).astype(jnp.int32) + steps
    return {"levels": _packed(whole, bits), "scale": scale}, state

  def decode(message, like):
    flat, back = _flat(like)
    blocks = (_unpacked(message["levels"], bits) - steps).astype(jnp.float32) * message["scale"][:, None]
    if rotate is not None:
      blocks = _rotated_back(blocks, rotate)
    return back(blocks.reshape(-1)[: flat.size].astype(flat.dtype))

  return Codec(encode, decode)


def _packed(whole: jax.Array, bits: int) -> jax.Array:
  """uint8 [blocks, BLOCK * bits / 8] of numbers below 2^bits."""
  each = 8 // bits
  parts = whole.reshape(len(whole), -1, each) << (bits * jnp.arange(each))[None, None]
  return parts.sum(-1).astype(jnp.uint8)


def _unpacked(packed: jax.Array, bits: int) -> jax.Array:
  each = 8 // bits
  parts = packed.astype(jnp.int32)[..., None] >> (bits * jnp.arange(each))[None, None]
  return (parts & (2**bits - 1)).reshape(len(packed), -1)


def _signs(seed: int) -> jax.Array:
  return jax.random.rademacher(jax.random.key(seed), (BLOCK,), jnp.float32)


def _rotated(blocks: jax.Array, seed: int) -> jax.Array:
  """H D x: random signs, then a Hadamard transform; orthogonal."""
  return _hadamard(blocks * _signs(seed)[None])


def _rotated_back(blocks: jax.Array, seed: int) -> jax.Array:
  return _hadamard(blocks) * _signs(seed)[None]


def _hadamard(x: jax.Array) -> jax.Array:
  """Of the last axis, orthonormal: its own inverse."""
  size = x.shape[-1]
  for k in range(int(math.log2(size))):
    pairs = x.reshape(*x.shape[:-1], -1, 2, 2**k)
    a, b = pairs[..., 0, :], pairs[..., 1, :]
    x = jnp.stack([a + b, a - b], -2).reshape(*x.shape)
  return x / math.sqrt(size)


def power(rank: int) -> Codec:
  """Leaves of two axes or more as P Q^T of a rank, Q kept from round to round; smaller ones whole.

  A leaf is sent whole, too, where two factors would be no smaller.
  """

  def shape_of(leaf) -> tuple[int, int] | None:
    if leaf.ndim < 2:
      return None
    rows = leaf.shape[0] if leaf.ndim == 2 else math.prod(leaf.shape[:-1])
    columns = leaf.size // rows
    return (rows, columns) if rank * (rows + columns) < leaf.size else None

  def state_init(like):
    def start(place, leaf):
      found = shape_of(leaf)
      if found is None:
        return jnp.zeros((0, 0))
      return jax.random.normal(jax.random.key(place), (found[1], rank))

    leaves, tree = jax.tree.flatten(like)
    return jax.tree.unflatten(tree, [start(place, leaf) for place, leaf in enumerate(leaves)])

  def encode(update, state, key):
    del key

    def one(leaf, q):
      found = shape_of(leaf)
      if found is None:
        return {"whole": leaf}, q
      matrix = leaf.reshape(found)
      p, _ = jnp.linalg.qr(matrix @ q)
      fresh = matrix.T @ p
      return {"p": p, "q": fresh}, fresh

    leaves, tree = jax.tree.flatten(update)
    made = [one(leaf, q) for leaf, q in zip(leaves, jax.tree.leaves(state), strict=True)]
    return [message for message, _ in made], jax.tree.unflatten(tree, [q for _, q in made])

  def decode(message, like):
    leaves, tree = jax.tree.flatten(like)
    back = [
      part["whole"] if "whole" in part else (part["p"] @ part["q"].T).reshape(leaf.shape)
      for part, leaf in zip(message, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, back)

  return Codec(encode, decode, state_init)


def link_init(codec: Codec, like: Tree, feedback: bool) -> Tree:
  """What a client keeps of its link: the codec's state, and what it could not send."""
  zero = jax.tree.map(jnp.zeros_like, like) if feedback else {}
  return {"codec": codec.state_init(like), "unsent": zero}


def through(codec: Codec, feedback: bool) -> Transmit:
  """The link of a client that sends by `codec`, with error feedback or without."""

  def transmit(update: Tree, link: Tree, key: jax.Array) -> tuple[Tree, Tree]:
    meant = jax.tree.map(jnp.add, update, link["unsent"]) if feedback else update
    message, state = codec.encode(meant, link["codec"], key)
    arrived = codec.decode(message, meant)
    unsent = jax.tree.map(jnp.subtract, meant, arrived) if feedback else link["unsent"]
    return arrived, {"codec": state, "unsent": unsent}

  return transmit


def message_shapes(codec: Codec, like: Tree) -> Any:
  """Shapes of what is sent, for federated/wire.py to count."""
  return jax.eval_shape(lambda tree: codec.encode(tree, codec.state_init(tree), jax.random.key(0))[0], like)


def down(algorithm: Algorithm, codec: Codec) -> Algorithm:
  """The algorithm with a compressed way down: clients follow the server by what `codec` lets through.

  server["view"] is what all clients hold; each round they are sent the rest of the way to the server's parameters, and
  what is lost stays in it, as with error feedback.
  """

  def init(params: Tree) -> dict:
    return algorithm.server_init(params) | {"view": params, "codec": codec.state_init(params)}

  def client(server, memory, batches, real_K, key):
    return algorithm.client(server | {"params": server["view"]}, memory, batches, real_K, key)

  def step(server, update, share):
    moved = algorithm.server_step(
      {k: v for k, v in server.items() if k not in ("view", "codec")}, update, share
    )
    rest = jax.tree.map(jnp.subtract, moved["params"], server["view"])
    message, state = codec.encode(rest, server["codec"], jax.random.key(0))
    view = jax.tree.map(jnp.add, server["view"], codec.decode(message, rest))
    return moved | {"view": view, "codec": state}

  return Algorithm(init, algorithm.memory_init, client, step)
