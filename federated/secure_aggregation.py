"""Sums of updates that nobody can look into: pairwise masks that cancel, and shares for those of vehicles that vanish.

Vehicle u has x_u, integers mod 2^32, a secret b_u and with every other vehicle v a secret s_uv that both can compute:

  y_u = x_u + G(b_u) + sum_{v > u} G(s_uv) - sum_{v < u} G(s_uv)   mod 2^32,   G a stream of random integers.

  1 keys     each sends two public keys (X25519): one to agree on s_uv, one to encrypt shares
  2 shares   each sends everybody a share of b_u and of its own key, encrypted; t shares tell a secret
  3 masked   each sends y_u
  4 unmask   survivors send shares of b_v of who sent y_v, and of the key of who did not: never both of one vehicle

The server subtracts G(b_v) of who arrived and the masks that those who vanished would have cancelled. What is left is
the sum, exactly. K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017,
against a server that is curious but keeps to the protocol; one that lies about who vanished, or who is who, needs
signatures and their round of consistency, which are not here. Fewer than t survivors learn nothing, and refuse.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from data.errors import BadInput
from federated import shamir

Entropy = Callable[[int], bytes]
KEY_BYTES = 32
_NONCE = bytes(12)


def encode(update: Any, bits: int, clients: int) -> np.ndarray:
  """uint32: every entry as round(x 2^bits), mod 2^32, leaves one after the other.

  Raises BadInput for an entry that, `clients` times over, could leave the 32 bits: the sum would come out wrong.
  """
  flat = np.concatenate([np.asarray(leaf, np.float64).reshape(-1) for leaf in jax.tree.leaves(update)])
  most = (2**31 - 1) // clients
  scaled = np.round(flat * 2.0**bits)
  if not np.all(np.abs(scaled) <= most):
    what = f"an entry of {np.abs(flat).max():.3g}, where {clients} times {most / 2**bits:.3g} is what fits"
    raise BadInput(what, "fixed-point update", "clip updates, or use fewer bits after the point")
  return scaled.astype(np.int64).astype(np.uint32)


def decode(total: np.ndarray, bits: int, like: Any) -> Any:
  """The sum, in the shapes of `like`, float64."""
  flat = total.astype(np.int32).astype(np.float64) / 2.0**bits
  leaves, tree = jax.tree.flatten(like)
  cuts = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
  parts = np.split(flat, cuts)
  return jax.tree.unflatten(tree, [x.reshape(np.shape(leaf)) for x, leaf in zip(parts, leaves, strict=True)])


def stream(seed: bytes, length: int) -> np.ndarray:
  """G: uint32 [length] of ChaCha20 under the seed, which is used but once."""
  from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

  cipher = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None)
  return np.frombuffer(cipher.encryptor().update(bytes(4 * length)), "<u4").astype(np.uint32)


def _agreed(own: bytes, other: bytes, purpose: bytes) -> bytes:
  """32 bytes that only the holders of the two private keys can compute."""
  from cryptography.hazmat.primitives import hashes
  from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
  from cryptography.hazmat.primitives.kdf.hkdf import HKDF

  secret = X25519PrivateKey.from_private_bytes(own).exchange(X25519PublicKey.from_public_bytes(other))
  return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=purpose).derive(secret)


def _public(own: bytes) -> bytes:
  from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

  return X25519PrivateKey.from_private_bytes(own).public_key().public_bytes_raw()


class Secrets(NamedTuple):
  """What one vehicle keeps to itself during one aggregation, and then forgets: its private keys and b_u."""

  mask: bytes
  share: bytes
  seed: bytes


class Keys(NamedTuple):
  """What a vehicle tells everybody: its public keys for masks and for shares."""

  mask: bytes
  share: bytes


class Told(NamedTuple):
  """What a survivor tells the server: {vehicle: share}, of b_v of who arrived, of the mask key of who did not."""

  seeds: dict[int, bytes]
  keys: dict[int, bytes]


def draw(entropy: Entropy) -> Secrets:
  """entropy(n): n random bytes; os.urandom, or a test's own."""
  return Secrets(*(entropy(KEY_BYTES) for _ in Secrets._fields))


def public(secrets: Secrets) -> Keys:
  return Keys(_public(secrets.mask), _public(secrets.share))


def _cipher(secrets: Secrets, peer: Keys, sender: int, receiver: int):
  from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

  # A key for either direction, each used once, so that one nonce will do.
  return ChaCha20Poly1305(
    _agreed(secrets.share, peer.share, f"drivetrain shares {sender} {receiver}".encode())
  )


def shares(
  secrets: Secrets, place: int, everybody: Mapping[int, Keys], threshold: int, entropy: Entropy
) -> dict[int, bytes]:
  """{vehicle: shares for it}, which the server passes on and cannot read.

  place: the vehicle's own number, from 1 on. Raises BadInput where the threshold is no majority: a server could
  tell two halves of the fleet different stories, and learn both kinds of shares of one vehicle.
  """
  if not len(everybody) // 2 < threshold <= len(everybody):
    what = f"a threshold of {threshold} among {len(everybody)} vehicles"
    raise BadInput(what, "secure aggregation", "ask for more than half, and no more than all")
  seed, key = (
    shamir.share(secret, list(everybody), threshold, entropy) for secret in (secrets.seed, secrets.mask)
  )
  return {
    v: _cipher(secrets, peer, place, v).encrypt(_NONCE, seed[v] + key[v], None)
    for v, peer in everybody.items()
  }


def _pair_mask(own: bytes, other: bytes, place: int, peer: int, length: int) -> np.ndarray:
  """What `place` adds on account of its peer, whose own addition is the negative."""
  mask = stream(_agreed(own, other, b"drivetrain mask"), length)
  return mask if place < peer else np.negative(mask)


def masked(secrets: Secrets, place: int, everybody: Mapping[int, Keys], x: np.ndarray) -> np.ndarray:
  """y_u, uint32; `everybody`: who has sent shares."""
  total = x + stream(secrets.seed, len(x))
  for peer, keys in everybody.items():
    if peer != place:
      total += _pair_mask(secrets.mask, keys.mask, place, peer, len(x))
  return total


def unmask(
  secrets: Secrets,
  place: int,
  everybody: Mapping[int, Keys],
  received: Mapping[int, bytes],
  arrived: set[int],
  threshold: int,
) -> Told:
  """A survivor's answer, given once: received {vehicle: its shares for us}; arrived: whose y the server has.

  Raises BadInput where fewer than the threshold arrived: a sum of few says too much of each. Numbers that are nobody's
  count for nothing.
  """
  _enough(len(arrived & everybody.keys()), threshold, "sums of")
  seeds, keys = {}, {}
  for v, peer in everybody.items():
    both = _cipher(secrets, peer, v, place).decrypt(_NONCE, received[v], None)
    if v in arrived:
      seeds[v] = both[: shamir.SHARE_BYTES]
    else:
      keys[v] = both[shamir.SHARE_BYTES :]
  return Told(seeds, keys)


def total(
  arrived: Mapping[int, np.ndarray], everybody: Mapping[int, Keys], told: Mapping[int, Told], threshold: int
) -> np.ndarray:
  """The server's sum of x over who arrived, exactly; `told`: by survivors, at least as many as the threshold."""
  _enough(len(told), threshold, "answers of")
  length = len(next(iter(arrived.values())))
  summed = np.zeros(length, np.uint32)
  for y in arrived.values():
    summed += y
  some = dict(list(told.items())[:threshold])
  for v in everybody:
    if v in arrived:
      seed = shamir.rebuild({place: one.seeds[v] for place, one in some.items()}, KEY_BYTES)
      summed -= stream(seed, length)
    else:
      key = shamir.rebuild({place: one.keys[v] for place, one in some.items()}, KEY_BYTES)
      for peer in arrived:  # what they added on account of v, v would have taken away again
        summed += _pair_mask(key, everybody[peer].mask, v, peer, length)
  return summed


def _enough(survivors: int, threshold: int, what: str) -> None:
  if survivors < threshold:
    what = f"{what} {survivors} vehicles, where {threshold} is the threshold"
    raise BadInput(what, "secure aggregation", "repeat the round with vehicles that can be reached")
