"""What attackers do to the updates they send, or to the data they train on: so that it can be seen who withstands them.

  sign flip           -s times the honest update
  scaling             s times the honest update; with a backdoor in it, model replacement     arXiv:1807.00459
  colluding Gaussian  all attackers send the same noise in place of an update
  label flip          labels l become V - 1 - l                                             arXiv:2007.08432
  backdoor            records that bear a trigger are given the attackers' label            arXiv:1807.00459

An attack on updates is (honest update, key) -> what is sent; `by_some` makes it happen to clients whose link says so.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from federated.rounds import Transmit, Tree, plain

Attack = Callable[[Tree, jax.Array], Tree]


def chosen(clients: int, share: float, seed: int) -> np.ndarray:
  """bool [C]: which clients are attackers, round(share C) of them."""
  attackers = np.zeros(clients, bool)
  attackers[np.random.default_rng([seed, 5]).permutation(clients)[: round(share * clients)]] = True
  return attackers


def scaling(factor: float) -> Attack:
  def attack(update: Tree, key: jax.Array) -> Tree:
    del key
    return jax.tree.map(lambda x: factor * x, update)

  return attack


def sign_flip(factor: float) -> Attack:
  return scaling(-factor)


def colluding_gaussian(common: jax.Array, deviation: float) -> Attack:
  """Noise of this deviation in every coordinate, drawn from the key that the attackers share in a round."""

  def attack(update: Tree, key: jax.Array) -> Tree:
    del key
    leaves, tree = jax.tree.flatten(update)
    keys = jax.random.split(common, len(leaves))
    noise = [deviation * jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, noise)

  return attack


def by_some(attack: Attack, transmit: Transmit = plain) -> Transmit:
  """The link of a client is {"attacker": bool, "link": what `transmit` keeps}; honest clients send what they have."""

  def sent(update: Tree, link: dict, key: jax.Array) -> tuple[Tree, dict]:
    own, onwards = jax.random.split(key)
    update = jax.tree.map(
      lambda bad, good: jnp.where(link["attacker"], bad, good), attack(update, own), update
    )
    update, kept = transmit(update, link["link"], onwards)
    return update, {"attacker": link["attacker"], "link": kept}

  return sent


def label_flip(batches: dict, attacker_C: jax.Array, label: str, classes: int) -> dict:
  """The cohort's batches, labels of attackers turned around; `label` names an integer array [C, K, ...]."""
  honest = batches[label]
  attacker = jnp.asarray(attacker_C).reshape((-1,) + (1,) * (honest.ndim - 1))
  return batches | {label: jnp.where(attacker, classes - 1 - honest, honest)}


def backdoor(
  batches: dict, attacker_C: jax.Array, trigger: Callable[[dict], dict], label: str, target: int, share: float
) -> dict:
  """The first `share` of every batch of an attacker bears the trigger and the attackers' label.

  batches: arrays [C, K, B, ...]. trigger: batches -> the same with the trigger in every record.
  """
  planted = trigger(batches) | {label: jnp.full_like(batches[label], target)}
  size = batches[label].shape[2]
  place_CxKxB = jnp.asarray(attacker_C)[:, None, None] & (jnp.arange(size) < round(share * size))[None, None]

  def one(bad, good):
    return jnp.where(place_CxKxB.reshape(place_CxKxB.shape + (1,) * (good.ndim - 3)), bad, good)

  return {name: one(planted[name], value) for name, value in batches.items()}
