"""Clustered fleets: several models, and every client trains the one that loses least on its own records.

With x_j the models, S_j the clients that choose j, and p_i a client's share of the weight:

  j_i = argmin_j f_i(x_j);   x_j <- x_j + sum_{i in S_j} p_i (y_i - x_j) / sum_{i in S_j} p_i

A model that nobody chooses stays. No client says which population it is of. IFCA with averaged models: A. Ghosh, J.
Chung, D. Yin and K. Ramchandran, "An Efficient Framework for Clustered Federated Learning", arXiv:2006.04088.
"""

import jax
import jax.numpy as jnp
import optax

from federated.algorithms import Loss, local_steps
from federated.compression import Codec
from federated.rounds import Algorithm, Tree


def clustered(loss_fn: Loss, client: optax.GradientTransformation, models: int) -> Algorithm:
  """server["params"] are the models, stacked: leaves [models, ...]. Metrics gain "chosen", clients by model."""
  train = local_steps(loss_fn, client)

  def one(sent, memory, batches, real_K, key):
    choose, learn = jax.random.split(key)

    def lost(params):
      def add(total, piece):
        batch, real = piece
        own = loss_fn(params, batch, choose)["objective"]
        return jax.tree.map(lambda a, b: a + jnp.where(real, b, 0.0), total, own), None

      (total, count), _ = jax.lax.scan(add, (jnp.zeros(()), jnp.zeros(())), (batches, real_K))
      return total / jnp.maximum(count, 1e-30)

    lost_M = jax.lax.map(lost, sent["params"])
    best = jnp.argmin(lost_M)
    start = jax.tree.map(lambda x: x[best], sent["params"])
    params, _, metrics = train(start, batches, real_K, learn)
    own_M = jax.nn.one_hot(best, models)
    update = jax.tree.map(lambda y, x: _placed(own_M, y - x), params, start)
    return {"update": update, "share": own_M}, memory, metrics | {"chosen": (own_M, jnp.ones(models))}

  def step(server, mean, share):
    del share
    part_M = jnp.maximum(mean["share"], 1e-30)
    moved = jax.tree.map(lambda x, d: x + d / _beside(part_M, d), server["params"], mean["update"])
    return {"params": moved}

  return Algorithm(lambda params: {"params": params}, lambda params: {}, one, step)


def chosen_alone(models: int) -> Codec:
  """What a client sends: the update of the model that it chose, and which that is. Nothing is lost."""

  def encode(update, state, key):
    del key
    return {
      "update": jax.tree.map(lambda x: x.sum(0), update["update"]),
      "model": jnp.argmax(update["share"]).astype(jnp.uint8),
    }, state

  def decode(message, like):
    del like
    own_M = jax.nn.one_hot(message["model"], models)
    return {"update": jax.tree.map(lambda x: _placed(own_M, x), message["update"]), "share": own_M}

  return Codec(encode, decode)


def _beside(own_M: jax.Array, like: jax.Array) -> jax.Array:
  return own_M.reshape((-1,) + (1,) * (like.ndim - 1)).astype(like.dtype)


def _placed(own_M: jax.Array, leaf: jax.Array) -> jax.Array:
  """[M, ...]: the leaf in its model's place, zeros in the others."""
  return own_M.reshape((-1,) + (1,) * leaf.ndim).astype(leaf.dtype) * leaf[None]


def stacked(models: list[Tree]) -> Tree:
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
