"""Several objectives at once, with fixed weights or with weights that are learned.

  fixed:    sum_i w_i L_i
  learned:  sum_i 0.5 (exp(-s_i) w_i (L_i - F_i) + s_i)  s_i = log variance of task i, least where the product is 1

F_i is the least that L_i can be: a negative log density may fall under zero, where exp(-s_i) would grow without
end. A. Kendall, Y. Gal, R. Cipolla, arXiv:1705.07115. L_i is the sum of a task's losses per step of a clip: its divisor
does not depend on what is in the batch, so that the objective adds up exactly over micro-batches, devices and
clients. A weight is therefore per unit of that task (a box, a cell, a point).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives.metrics import record_weights


def make_loss(
  apply: Callable,
  see: Callable,
  terms: dict[str, Callable],
  weights: dict[str, float],
  floors: dict[str, float],
  domains: int,
):
  """Returns loss_fn(params, batch, key) -> {name: (sum, count)}.

  Args:
    apply: apply({"params": params}, batch) -> answers, a dict. With "log_variance_I", one of each weight in order,
      weights are learned.
    see: see(batch, key) -> batch as the model and the terms see it (shuffled slots, dropped sensors).
    terms: name to term(answers, batch) -> {name: (sum_B, count_B)} with a "loss".
    weights: name to w_i; terms without one are reported, and teach nothing.
    floors: name to the least loss of a unit, for terms that may fall under zero. domains: length of "by_domain".

  "objective" is per step. "loss" and "by_domain" are the objective at fixed weights; "<term>" is a term's loss per
  unit, and "<term>_<metric>" its metrics.
  """
  if not weights or not set(weights) <= set(terms):
    raise ValueError(f"weights for {sorted(weights)}, but the terms are {sorted(terms)}")

  def loss_fn(params, batch, key):
    batch = see(batch, key)
    answers = apply({"params": params}, batch)
    real_B = record_weights(batch)
    found = {name: term(answers, batch) for name, term in terms.items()}
    steps_B = real_B * batch["ego_BxTxS"].shape[1]
    losses_IxB = jnp.stack([w * found[name]["loss"][0] for name, w in weights.items()]) * real_B[None]
    loss_B = losses_IxB.sum(0)
    objective = loss_B.sum()
    if "log_variance_I" in answers:
      least_IxB = jnp.stack(
        [w * floors.get(name, 0.0) * found[name]["loss"][1] for name, w in weights.items()]
      )
      excess_I = (losses_IxB - least_IxB * real_B[None]).sum(1)
      objective = learned(answers["log_variance_I"], excess_I, steps_B.sum())
    home_BxG = jax.nn.one_hot(batch["domain_B"], domains, dtype=jnp.float32)
    metrics = {
      "objective": (objective, steps_B.sum()),
      "loss": (loss_B.sum(), steps_B.sum()),
      "by_domain": (loss_B @ home_BxG, steps_B @ home_BxG),
    }
    for name, parts in found.items():
      for part, (sum_B, count_B) in parts.items():
        label = name if part == "loss" else f"{name}_{part}"
        metrics[label] = jnp.tensordot(real_B, sum_B, 1), jnp.tensordot(real_B, count_B, 1)
    return metrics

  return loss_fn


def learned(log_variance_I: jax.Array, sum_I: jax.Array, count: jax.Array) -> jax.Array:
  """Sum over `count` steps of 0.5 (exp(-s_i) L_i + s_i), for L_i = sum_i / count, none negative."""
  return 0.5 * (jnp.exp(-log_variance_I) * sum_I + log_variance_I * count).sum()
