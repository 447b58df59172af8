"""Joint-embedding prediction: predict the teacher's embeddings of hidden tokens, in place of what they show.

  y = norm(teacher(all tokens)),  z = predictor(student(visible tokens), hidden places)
  loss = sum over hidden tokens of mean_d h(z_d - y_d),   count = number of hidden tokens

where norm standardises each token (a teacher cannot shrink its targets to make them easy) and h is the smooth L1.
The teacher is the moving average of the student (`objectives/teacher.py`) and gets no gradient. Blocks are hidden, as
single tokens can be filled in from their neighbours. M. Assran et al., "I-JEPA", arXiv:2301.08243; over time:
A. Bardes et al., "V-JEPA", arXiv:2404.08471.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives import collapse, draws
from objectives.masked import standardised
from objectives.metrics import Metrics, by_domain, record_weights, weighted


def smooth_l1(x: jax.Array) -> jax.Array:
  """x^2 / 2 up to 1, |x| - 1/2 beyond."""
  size = jnp.abs(x)
  return jnp.where(size < 1, x * x / 2, size - 0.5)


def make_loss(
  predict: Callable, embed: Callable, hide: Callable[[jax.Array, jax.Array], jax.Array], domains: int
) -> Callable[[dict, dict, jax.Array], Metrics]:
  """Returns loss_fn(params, batch, key) -> {name: (sum, count)}.

  Args:
    predict: predict({"params": params["student"]}, batch, hide) -> (z_BxTxSxD, hidden_BxTxS); it asks
      hide(valid_BxTxS) which of its tokens to hide.
    embed: embed({"params": params["teacher"]}, batch) -> (y_BxTxSxD, valid_BxTxS) of all tokens.
    hide: (key, valid_BxTxS) -> bool [B, T, S], as `masks.hide` with its other arguments bound; called for every
      record by itself.
    domains: number of domains; "by_domain" is a vector of that length.

  params: {"student", "teacher"}. batch: "domain_B" int and "real_B" bool besides the models'. The monitors look at
  the teacher's frames: the mean over their tokens.
  """

  def loss_fn(params, batch, key):
    teacher = jax.lax.stop_gradient(params["teacher"])
    y_BxTxSxD, valid_BxTxS = embed({"params": teacher}, batch)
    y_BxTxSxD = jax.lax.stop_gradient(standardised(y_BxTxSxD))
    z_BxTxSxD, hidden_BxTxS = predict(
      {"params": params["student"]}, batch, lambda valid: draws.by_record(hide, key, batch, valid)
    )
    weight = hidden_BxTxS * record_weights(batch)[:, None, None]
    error = smooth_l1(z_BxTxSxD.astype(jnp.float32) - y_BxTxSxD).mean(-1)
    loss = weighted(error, weight)
    there = valid_BxTxS.astype(jnp.float32)[..., None]
    frames = (y_BxTxSxD * there).sum(2) / jnp.maximum(there.sum(2), 1.0)
    some = (valid_BxTxS.any(2) & batch["real_B"][:, None]).reshape(-1)
    return {
      "objective": loss,
      "loss": loss,
      "by_domain": by_domain(error, weight, batch["domain_B"], domains),
      **collapse.monitors(frames.reshape(-1, frames.shape[-1]), some),
    }

  return loss_fn
