"""The jitted training step: one function for one device, a pod and an ahead-of-time compile."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.mesh import RULES, state_sharding
from experiments.task import Task
from models.trainable import insert, select
from objectives import collapse

State = dict[str, Any]  # {"params", "opt", "step"}; "opt" of what is trainable alone
_RUN_ONCE = {"xla_backend_optimization_level": 0}  # what is run once is not worth a compiler's best effort


def abstract_state(task: Task, tx: optax.GradientTransformation, mesh: Mesh, example: dict, key):
  """Shapes and shardings of a fresh state, and the function that makes it; nothing is allocated."""

  def fresh(key):
    params = task.init(key, example)["params"]
    return {"params": params, "opt": tx.init(select(params, task.trainable)), "step": jnp.int32(0)}

  with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
    boxed = jax.eval_shape(fresh, key)
  sharding = state_sharding(boxed, mesh)
  shapes = nn.unbox(boxed)
  spec = jax.tree.map(
    lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), shapes, sharding
  )
  # One jit for all of it: an optimiser state made outside would land whole on every device.
  return spec, jax.jit(lambda key: nn.unbox(fresh(key)), out_shardings=sharding, compiler_options=_RUN_ONCE)


def make_step(
  task: Task, tx: optax.GradientTransformation, mesh: Mesh, spec: State, accumulate: int
) -> Callable:
  """step(state, batch, key) -> (state, metrics), compiled once, the old state donated.

  Gradients of sums over `accumulate` micro-batches are added and divided by the total count, so that the mean is that
  of the whole batch. Objectives that draw (masks, noise, times) draw anew in each, by a record's place in it, and those
  that compare the records of a batch compare those of a micro-batch: these depend on how the batch is cut. What is not
  trainable has neither gradient nor moments; `task.after` may move it. A step whose loss or
  gradient is not finite leaves parameters and moments untouched, `after` or not, and is reported as
  metrics["finite"] = 0; `step` still advances.

  metrics: float32 scalars: the mean of every scalar that the loss reports but its objective, "tokens" (count),
  "gradient_norm", "finite"; and a matrix, `collapse.GRAM`, where the loss reports it.
  """
  sums_and_metrics = _accumulated(task.loss_fn, accumulate)

  def step(state, batch, key):
    learning = select(state["params"], task.trainable)
    sums, metrics = sums_and_metrics(learning, state["params"], batch, jax.random.fold_in(key, state["step"]))
    count = _positive(metrics["objective"][1])
    gradients = jax.tree.map(lambda g: g / count, sums)
    norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(norm) & jnp.isfinite(metrics["objective"][0])
    updates, opt = tx.update(gradients, state["opt"], learning)
    params = insert(state["params"], optax.apply_updates(learning, updates))
    if task.after:
      params = task.after(params, metrics, state["step"])
    fresh = {"params": params, "opt": opt}
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), fresh, {k: state[k] for k in fresh})
    rows = next(iter(batch.values())).shape[0]
    report = _means(metrics) | {
      "tokens": metrics["loss"][1] if task.tokens is None else jnp.float32(rows * task.tokens),
      "gradient_norm": norm,
      "finite": finite.astype(jnp.float32),
    }
    if collapse.GRAM in metrics:
      report[collapse.GRAM] = metrics[collapse.GRAM][0]
    return kept | {"step": state["step"] + 1}, report

  sharding = jax.tree.map(lambda leaf: leaf.sharding, spec)
  whole = NamedSharding(mesh, PartitionSpec())
  return _in_mesh(jax.jit(step, donate_argnums=0, out_shardings=(sharding, whole)), mesh)


def _positive(count: jax.Array) -> jax.Array:
  """A count to divide by: 1 where nothing was counted."""
  return jnp.where(count > 0, count, 1.0)


def _means(metrics: dict) -> dict[str, jax.Array]:
  """Of every scalar but the objective."""
  return {
    name: total / _positive(count)
    for name, (total, count) in metrics.items()
    if name != "objective" and total.ndim == 0
  }


def _accumulated(loss_fn: Callable, pieces: int) -> Callable:
  """(learning, params, batch, key) -> (gradients of the objective's sum, metrics), both summed over micro-batches.

  Gradients are by `learning`, the part of `params` that learns.
  """

  def objective(learning, params, batch, key):
    metrics = loss_fn(insert(params, learning), batch, key)
    return metrics["objective"][0], metrics

  gradient = jax.grad(objective, has_aux=True)
  if pieces == 1:
    return gradient

  def summed(learning, params, batch, key):
    # Micro-batch i is every pieces-th window from i on: each device cuts its own rows, none has to move.
    micro = jax.tree.map(lambda x: x.reshape(-1, pieces, *x.shape[1:]).swapaxes(0, 1), batch)

    def add(total, piece):
      index, part = piece
      return jax.tree.map(
        jnp.add, total, gradient(learning, params, part, jax.random.fold_in(key, index))
      ), None

    shapes = jax.eval_shape(gradient, learning, params, jax.tree.map(lambda x: x[0], micro), key)
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zero, (jnp.arange(pieces), micro))[0]

  return summed


def make_eval(loss_fn: Callable, mesh: Mesh) -> Callable:
  """evaluate(params, batch, key) -> {name: (sum, count)}, replicated."""
  return _in_mesh(jax.jit(loss_fn, out_shardings=NamedSharding(mesh, PartitionSpec())), mesh)


def _in_mesh(function: jax.stages.Wrapped, mesh: Mesh) -> Callable:
  """Runs (and lowers) `function` where the models' logical constraints can see the mesh and the rules."""

  def call(*args):
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
      return function(*args)

  def lower(*args):
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
      return function.lower(*args)

  call.lower = lower  # type: ignore[attr-defined]
  return call
