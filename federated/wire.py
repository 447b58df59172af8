"""An update as bytes: every array little-endian, one after the other in the order of their paths.

Shapes and types are the model's, known at both ends; whoever decodes says what it expects and refuses anything else.
"""

import hashlib
import struct
from typing import Any

import jax
import numpy as np

from data.errors import BadInput

_HEAD = struct.Struct("<4sIQ32s")  # magic, arrays, bytes of the body, its SHA-256
_MAGIC = b"DTU1"


def encode(tree: Any) -> bytes:
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
  body = b"".join(leaf.astype(leaf.dtype.newbyteorder("<")).tobytes() for leaf in leaves)
  return _HEAD.pack(_MAGIC, len(leaves), len(body), hashlib.sha256(body).digest()) + body


def size(tree: Any) -> int:
  """len(encode(tree)), of arrays or of their shapes."""
  return _HEAD.size + sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def decode(message: bytes, like: Any, sender: str) -> Any:
  """The update that `message` holds, of the shapes and types of `like`.

  Raises BadInput, naming the sender, for a message that is cut, damaged, or of another model.
  """
  remedy = "reject the update"
  if len(message) < _HEAD.size or message[:4] != _MAGIC:
    raise BadInput("is no update", sender, remedy)
  _, count, length, digest = _HEAD.unpack_from(message)
  body = message[_HEAD.size :]
  leaves, tree = jax.tree.flatten(like)
  if count != len(leaves) or len(message) != size(like) or length != len(body):
    what = f"holds {count} arrays in {len(message)} bytes, expected {len(leaves)} in {size(like)}"
    raise BadInput(what, sender, remedy)
  if hashlib.sha256(body).digest() != digest:
    raise BadInput("has been damaged on its way", sender, remedy)
  found, at = [], 0
  for leaf in leaves:
    kind = np.dtype(leaf.dtype).newbyteorder("<")
    values = np.frombuffer(body, kind, int(np.prod(leaf.shape)), at).reshape(leaf.shape)
    found.append(values.astype(leaf.dtype))
    at += values.nbytes
  return jax.tree.unflatten(tree, found)
