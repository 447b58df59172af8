"""Differential privacy: an algorithm with its updates clipped, and noise added at the server or at the clients.

With d_i the update of client i, S the clip, z the noise multiplier, M the number of clients expected in a round:

  central  d = (sum_i d_i min(1, S / |d_i|) + z S N(0, I)) / M                   DP-FedAvg, arXiv:1710.06963
  adaptive S <- S exp(-rate (b - q)), b the noisy share of clients with |d_i| <= S: S follows the quantile q of lengths.
           Sums of b_i - 1/2 get noise u; the updates' own noise rises to (z^-2 - (2 u)^-2)^-1/2, so that both
           together cost what z alone would                                      arXiv:1905.03871
  local    every client adds 2 z S N(0, I) itself: two updates lie at most 2 S apart

All clients count alike: a client's record count would be told by its weight. M is fixed, since who took part is not
public. What noise is worth: federated/accounting.py; a client's metrics are not made private here. An algorithm is
built anew in every round, with that round's key.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from data.errors import BadInput
from federated.rounds import Algorithm, Tree


@dataclasses.dataclass(frozen=True)
class Quantile:
  """Adaptive clipping. share: q. rate: of the clip's logarithm. noise: u, deviation on the sum of who is within."""

  share: float
  rate: float
  noise: float


def clipped(update: Tree, clip: jax.Array) -> tuple[Tree, jax.Array]:
  """(update no longer than `clip`, whether it was within)."""
  length = optax.tree.norm(update)
  scale = jnp.minimum(1.0, clip / jnp.maximum(length, 1e-30))
  return jax.tree.map(lambda x: x * scale.astype(x.dtype), update), length <= clip


def noisy(tree: Tree, key: jax.Array, deviation: jax.Array) -> Tree:
  leaves, structure = jax.tree.flatten(tree)
  keys = jax.random.split(key, len(leaves))
  return jax.tree.unflatten(
    structure,
    [
      x + deviation.astype(x.dtype) * jax.random.normal(k, x.shape, x.dtype)
      for k, x in zip(keys, leaves, strict=True)
    ],
  )


def split_noise(noise_multiplier: float, quantile: Quantile | None) -> float:
  """The updates' own noise multiplier, when part of z is spent on the quantile.

  Raises BadInput where the quantile's noise is so small that it alone spends more than z does.
  """
  if quantile is None or noise_multiplier == 0:
    return noise_multiplier
  left = noise_multiplier**-2 - (2 * quantile.noise) ** -2
  if left <= 0:
    what = f"noise {quantile.noise:g} on the quantile spends all that {noise_multiplier:g} allows"
    raise BadInput(what, "privacy.quantile", f"raise it above {noise_multiplier / 2:g}")
  return left**-0.5


def _alike(metrics: dict) -> dict:
  """Every client's objective counts as one thing, so that all weigh the same."""
  total, count = metrics["objective"]
  return metrics | {"objective": (total / jnp.maximum(count, 1e-30), (count > 0).astype(jnp.float32))}


def central(
  algorithm: Algorithm,
  clip: float,
  noise_multiplier: float,
  expected: float,
  vehicles: int,
  key: jax.Array,
  quantile: Quantile | None = None,
) -> Algorithm:
  """The algorithm with clients' updates clipped and noise added once, by a server that is trusted to add it.

  clip: S, of the first round where it adapts. expected: M. vehicles: as in make_round. The server gains "clip".
  """
  own = split_noise(noise_multiplier, quantile)

  def init(params: Tree) -> dict:
    return algorithm.server_init(params) | {"clip": jnp.float32(clip)}

  def client(server, memory, batches, real_K, client_key):
    update, memory, metrics = algorithm.client(server, memory, batches, real_K, client_key)
    update, within = clipped(update, server["clip"])
    # Not finite, it stays so, and is rejected.
    return {"update": update, "within": within.astype(jnp.float32) - 0.5}, memory, _alike(metrics)

  def step(server, mean, share):
    here = share * vehicles
    on_updates, on_quantile = jax.random.split(key)
    total = jax.tree.map(lambda x: x * here.astype(x.dtype), mean["update"])
    total = noisy(total, on_updates, own * server["clip"])
    moved = algorithm.server_step(server, jax.tree.map(lambda x: x / expected, total), share)
    if quantile is None:
      return moved
    counted = mean["within"] * here + quantile.noise * jax.random.normal(on_quantile)
    within = counted / expected + 0.5
    return moved | {"clip": server["clip"] * jnp.exp(-quantile.rate * (within - quantile.share))}

  return Algorithm(init, algorithm.memory_init, client, step)


def local(algorithm: Algorithm, clip: float, noise_multiplier: float) -> Algorithm:
  """The algorithm with updates clipped and made noisy before they leave a client, whose server need not be trusted."""

  def client(server, memory, batches, real_K, key):
    train, hide = jax.random.split(key)
    update, memory, metrics = algorithm.client(server, memory, batches, real_K, train)
    update, _ = clipped(update, jnp.float32(clip))
    return noisy(update, hide, jnp.float32(2 * noise_multiplier * clip)), memory, _alike(metrics)

  return Algorithm(algorithm.server_init, algorithm.memory_init, client, algorithm.server_step)
