"""Shamir's secret sharing: any t of n shares tell a secret, t - 1 of them tell nothing.

The secret is the value at 0 of a random polynomial of degree t - 1 over the integers mod p, a share its value
elsewhere. p = 2^521 - 1 is prime and holds 64 bytes.

A. Shamir, "How to Share a Secret", Communications of the ACM 22(11), 1979.
"""

from collections.abc import Callable, Mapping

from data.errors import BadInput

PRIME = 2**521 - 1
SHARE_BYTES = 66


def share(
  secret: bytes, places: list[int], threshold: int, entropy: Callable[[int], bytes]
) -> dict[int, bytes]:
  """{place: share}; places are different numbers above 0, `entropy(n)` n random bytes.

  Raises BadInput for a threshold that is none, for places that repeat, and for a secret above 64 bytes.
  """
  if not 1 <= threshold <= len(places) or len(set(places)) < len(places) or min(places) < 1:
    what = f"{threshold} shares of {len(places)} at places {places}"
    raise BadInput(what, "secret sharing", "ask for between one share and all, at different places from 1 on")
  if len(secret) > 64:
    raise BadInput(f"a secret of {len(secret)} bytes", "secret sharing", "share 64 bytes at most")
  # Sixteen bytes more than p has: what is left of mod p is far below what anybody could see.
  coefficients = [int.from_bytes(secret, "big")]
  coefficients += [int.from_bytes(entropy(SHARE_BYTES + 16), "big") % PRIME for _ in range(threshold - 1)]

  def value(x: int) -> int:
    total = 0
    for coefficient in reversed(coefficients):
      total = (total * x + coefficient) % PRIME
    return total

  return {place: value(place).to_bytes(SHARE_BYTES, "big") for place in places}


def rebuild(shares: Mapping[int, bytes], size: int) -> bytes:
  """The secret of `size` bytes by Lagrange's formula at 0; BadInput where the shares are of no such secret."""
  total = 0
  for place, value in shares.items():
    top = bottom = 1
    for other in shares:
      if other != place:
        top, bottom = top * other % PRIME, bottom * (other - place) % PRIME
    total = (total + int.from_bytes(value, "big") * top * pow(bottom, -1, PRIME)) % PRIME
  if total >= 1 << (8 * size):
    what = f"{len(shares)} shares make no secret of {size} bytes"
    raise BadInput(what, "secret sharing", "gather as many as the threshold, unchanged")
  return total.to_bytes(size, "big")
