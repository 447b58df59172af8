"""Next-token objective: nats per move, as sums and counts.

  loss = - sum_{t,i} log p(m[t,i] | ...),   count = number of supervised moves

so that loss / count is the joint negative log-likelihood of the next steps per motion token. The optional
z-loss, weight * log(Z)^2, keeps the softmax normaliser near 1 (A. Chowdhery et al., PaLM, arXiv:2204.02311).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives.metrics import Metrics, by_domain, weighted


def make_loss(apply: Callable, z_weight: float, domains: int) -> Callable[[dict, dict, jax.Array], Metrics]:
  """Returns loss_fn(params, batch, key) -> {name: (sum, count)}.

  Args:
    apply: apply({"params": params}, batch) -> logits [B, T, A, V].
    z_weight: weight of the z-loss.
    domains: number of domains; "by_domain" and "moving_by_domain" are vectors of that length.

  "objective" is what is minimised, "loss" the nats, "moving" the nats of moving agents.
  """

  def loss_fn(params, batch, key):
    del key  # no dropout, no sampling
    logits = apply({"params": params}, batch)
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    targets = batch["tokens_BxTxA"].astype(jnp.int32)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nats = normaliser - chosen
    weight = batch["mask_BxTxA"].astype(jnp.float32)
    moving = weight * batch["moving_BxA"].astype(jnp.float32)[:, None, :]
    loss, count = weighted(nats, weight)
    return {
      "objective": (loss + z_weight * (normaliser**2 * weight).sum(), count),
      "loss": (loss, count),
      "moving": weighted(nats, moving),
      "by_domain": by_domain(nats, weight, batch["domain_B"], domains),
      "moving_by_domain": by_domain(nats, moving, batch["domain_B"], domains),
    }

  return loss_fn
