"""An update as bytes: every array little-endian, one after the other in the order of their paths.

Shapes and types are the model's, known at both ends: they travel as part of the digest alone, and whoever decodes says
what it expects and refuses anything else.
"""

import hashlib
import json
import struct
from typing import Any

import jax
import numpy as np

from data.errors import BadInput

_HEAD = struct.Struct("<4sIQ32s")  # magic, arrays, bytes of the body, SHA-256 of what it is and of the body
_MAGIC = b"DTU1"


def _digest(tree: Any, body: bytes) -> bytes:
  """Of the paths, shapes and types of the arrays, and of their bytes."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  told = [(jax.tree_util.keystr(path), list(np.shape(x)), np.dtype(x.dtype).name) for path, x in leaves]
  return hashlib.sha256(json.dumps(told).encode() + body).digest()


def encode(tree: Any) -> bytes:
  tree = jax.tree.map(np.asarray, tree)
  leaves = jax.tree.leaves(tree)
  body = b"".join(leaf.astype(leaf.dtype.newbyteorder("<")).tobytes() for leaf in leaves)
  return _HEAD.pack(_MAGIC, len(leaves), len(body), _digest(tree, body)) + body


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
  if _digest(like, body) != digest:
    raise BadInput("has been damaged on its way, or is of another model", sender, remedy)
  found, at = [], 0
  for leaf in leaves:
    kind = np.dtype(leaf.dtype).newbyteorder("<")
    values = np.frombuffer(body, kind, int(np.prod(leaf.shape)), at).reshape(leaf.shape)
    found.append(values.astype(leaf.dtype))
    at += values.nbytes
  return jax.tree.unflatten(tree, found)
