"""Federated algorithms: what a client does with its batches, and what the server does with the mean update.

With y the client's parameters, x the server's, K local steps of rate eta, and p_i the client's share of the weight:

  FedAvg      y <- y - eta grad f_i(y);   x <- x + sum p_i (y_i - x)               arXiv:1602.05629
  FedOpt      the server takes x - mean y for a gradient (momentum, Adam, Yogi)    arXiv:2003.00295
  FedProx     grad f_i(y) + mu (y - x)                                             arXiv:1812.06127
  SCAFFOLD    grad f_i(y) - c_i + c;  c_i <- c_i - c + (x - y) / (K eta)           arXiv:1910.06378, option II
  MIME-lite   clients step with the server's momentum, which moves by gradients at x alone    arXiv:2008.03606
  FedBN       leaves of a client's own stay with it                                arXiv:2102.07623
  DiLoCo      FedOpt with AdamW inside and Nesterov's momentum outside             arXiv:2311.08105

A loss is what is trained centrally: (params, batch, key) -> {name: (sum, count)} with an "objective". `params` are what
travels; whoever federates adapters alone closes the loss over the frozen rest.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from federated.rounds import Algorithm, Metrics, Tree

Loss = Callable[[Tree, Any, jax.Array], Metrics]


def gradient(loss_fn: Loss) -> Callable:
  """(params, batch, key) -> (gradient of the mean objective, metrics)."""

  def objective(params, batch, key):
    metrics = loss_fn(params, batch, key)
    total, count = metrics["objective"]
    return total / jnp.where(count > 0, count, 1.0), metrics

  return jax.grad(objective, has_aux=True)


def local_steps(
  loss_fn: Loss, optimizer: optax.GradientTransformation, correct: Callable | None = None
) -> Callable:
  """(start, batches [K, ...], real_K, key, *context) -> (params, steps taken, metrics).

  correct: (gradient, params, *context) -> gradient. A batch that is not real changes nothing.
  """
  slope = gradient(loss_fn)

  def train(start: Tree, batches: Tree, real_K: jax.Array, key: jax.Array, *context):
    def step(carry, piece):
      params, opt = carry
      batch, real, own = piece
      grads, metrics = slope(params, batch, own)
      if correct is not None:
        grads = correct(grads, params, *context)
      updates, moved = optimizer.update(grads, opt, params)
      updates = jax.tree.map(
        lambda x: jnp.where(real, x, 0), updates
      )  # one pass over the weights, with their addition
      opt = jax.tree.map(lambda new, old: jnp.where(real, new, old), moved, opt)
      metrics = jax.tree.map(lambda x: jnp.where(real, x, jnp.zeros_like(x)), metrics)
      return (optax.apply_updates(params, updates), opt), metrics

    keys_K = jax.random.split(key, len(real_K))
    (params, _), metrics = jax.lax.scan(step, (start, optimizer.init(start)), (batches, real_K, keys_K))
    return params, real_K.sum(), jax.tree.map(lambda x: x.sum(0), metrics)

  return train


def _difference(new: Tree, old: Tree) -> Tree:
  return jax.tree.map(jnp.subtract, new, old)


def _server(optimizer: optax.GradientTransformation) -> tuple[Callable, Callable]:
  """(init, step) of a server that takes the negated mean update for a gradient."""

  def init(params: Tree) -> dict:
    return {"params": params, "opt": optimizer.init(params)}

  def step(server: dict, update: Tree, share: jax.Array) -> dict:
    del share
    slope = jax.tree.map(jnp.negative, update)
    updates, opt = optimizer.update(slope, server["opt"], server["params"])
    return server | {"params": optax.apply_updates(server["params"], updates), "opt": opt}

  return init, step


def _nothing(params: Tree) -> Tree:
  del params
  return {}


def fedavg(
  loss_fn: Loss,
  client: optax.GradientTransformation,
  server: optax.GradientTransformation | None = None,
  proximal: float = 0.0,
) -> Algorithm:
  """FedAvg; with another server optimiser than SGD of rate 1, FedOpt and DiLoCo; with a proximal term, FedProx."""

  def pull(grads, params, anchor):
    return jax.tree.map(lambda g, y, x: g + proximal * (y - x), grads, params, anchor)

  train = local_steps(loss_fn, client, pull if proximal else None)
  init, step = _server(server or optax.sgd(1.0))

  def one(sent, memory, batches, real_K, key):
    context = (sent["params"],) if proximal else ()
    params, _, metrics = train(sent["params"], batches, real_K, key, *context)
    return _difference(params, sent["params"]), memory, metrics

  return Algorithm(init, _nothing, one, step)


def scaffold(loss_fn: Loss, rate: float | jax.Array, server_rate: float = 1.0) -> Algorithm:
  """SCAFFOLD, option II: a client remembers its control variate; local steps are SGD of the given rate."""

  def corrected(grads, params, own, common):
    del params
    return jax.tree.map(lambda g, ci, c: g - ci + c, grads, own, common)

  train = local_steps(loss_fn, optax.sgd(rate), corrected)

  def init(params: Tree) -> dict:
    return {"params": params, "control": jax.tree.map(jnp.zeros_like, params)}

  def one(sent, own, batches, real_K, key):
    params, steps, metrics = train(sent["params"], batches, real_K, key, own, sent["control"])
    scale = 1.0 / (jnp.maximum(steps, 1) * rate)
    fresh = jax.tree.map(
      lambda ci, c, x, y: ci - c + (x - y) * scale, own, sent["control"], sent["params"], params
    )
    return {"params": _difference(params, sent["params"]), "control": _difference(fresh, own)}, fresh, metrics

  def step(server, update, share):
    moved = jax.tree.map(lambda x, d: x + server_rate * d, server["params"], update["params"])
    control = jax.tree.map(lambda c, d: c + share * d, server["control"], update["control"])
    return {"params": moved, "control": control}

  return Algorithm(init, lambda params: jax.tree.map(jnp.zeros_like, params), one, step)


def mime_lite(loss_fn: Loss, rate: float | jax.Array, momentum: float) -> Algorithm:
  """Local steps with the server's momentum m, which a client does not change: y <- y - rate ((1 - b) grad + b m)."""

  def heavy(grads, params, common):
    del params
    return jax.tree.map(lambda g, m: (1 - momentum) * g + momentum * m, grads, common)

  train, slope = local_steps(loss_fn, optax.sgd(rate), heavy), gradient(loss_fn)

  def init(params: Tree) -> dict:
    return {"params": params, "momentum": jax.tree.map(jnp.zeros_like, params)}

  def one(sent, memory, batches, real_K, key):
    params, _, metrics = train(sent["params"], batches, real_K, key, sent["momentum"])

    def here(batch, real, own):
      grads, seen = slope(sent["params"], batch, own)
      return jax.tree.map(lambda g: jnp.where(real, g, 0.0), grads), seen

    # The momentum moves by the whole gradient at x, over all of the client's batches.
    keys_K = jax.random.split(key, len(real_K))
    total = jax.lax.map(lambda piece: here(*piece)[0], (batches, real_K, keys_K))
    whole = jax.tree.map(lambda g: g.sum(0) / jnp.maximum(real_K.sum(), 1), total)
    return {"params": _difference(params, sent["params"]), "gradient": whole}, memory, metrics

  def step(server, update, share):
    del share
    moved = jax.tree.map(jnp.add, server["params"], update["params"])
    kept = jax.tree.map(
      lambda m, g: momentum * m + (1 - momentum) * g, server["momentum"], update["gradient"]
    )
    return {"params": moved, "momentum": kept}

  return Algorithm(init, _nothing, one, step)


def personal(
  loss_fn: Loss,
  client: optax.GradientTransformation,
  own: Callable[[tuple[str, ...]], bool],
  server: optax.GradientTransformation | None = None,
) -> Algorithm:
  """FedAvg in which leaves whose path is the client's own stay with it (FedBN: those of normalisation)."""
  train = local_steps(loss_fn, client)
  init, step = _server(server or optax.sgd(1.0))

  def mine(params: Tree) -> Tree:
    return jax.tree.map_with_path(lambda path, x: own(tuple(str(key.key) for key in path)), params)

  def one(sent, memory, batches, real_K, key):
    stays = mine(sent["params"])
    start = jax.tree.map(lambda held, x, kept: kept if held else x, stays, sent["params"], memory)
    params, _, metrics = train(start, batches, real_K, key)
    update = jax.tree.map(
      lambda held, y, x: jnp.zeros_like(x) if held else y - x, stays, params, sent["params"]
    )
    return update, jax.tree.map(lambda held, y, kept: y if held else kept, stays, params, memory), metrics

  return Algorithm(init, lambda params: params, one, step)
