"""Next-token objective: nats per token, as sums and counts.

  loss = - sum log p(token | what the model was shown),   count = number of supervised tokens

so that loss / count is the joint negative log-likelihood per token of a model whose factorisation is exact: moves of
agents (models/motion.py), codes of frames (models/codes.py). The optional z-loss, weight * log(Z)^2, keeps the softmax
normaliser near 1 (A. Chowdhery et al., PaLM, arXiv:2204.02311).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives.likelihood import cross_entropy
from objectives.metrics import Metrics, by_domain, record_weights, weighted


def token_loss(
  logits: jax.Array,
  tokens: jax.Array,
  weights: dict[str, jax.Array],
  domain_B: jax.Array,
  z_weight: float,
  domains: int,
) -> Metrics:
  """Args:
  logits: [B, ..., V]. tokens: int [B, ...].
  weights: name to float [B, ...], 0 for tokens that are not of that kind; "loss" is what is minimised.
  z_weight: weight of the z-loss. domains: number of domains.

  Nats of every kind, over all and "by_domain" ("<name>_by_domain"), and "objective".
  """
  nats, normaliser = cross_entropy(logits, tokens)
  loss, count = weighted(nats, weights["loss"])
  found = {"objective": (loss + z_weight * (normaliser**2 * weights["loss"]).sum(), count)}
  for name, weight in weights.items():
    found[name] = weighted(nats, weight)
    slices = "by_domain" if name == "loss" else f"{name}_by_domain"
    found[slices] = by_domain(nats, weight, domain_B, domains)
  return found


def make_loss(apply: Callable, z_weight: float, domains: int) -> Callable[[dict, dict, jax.Array], Metrics]:
  """For moves: loss_fn(params, batch, key) -> {name: (sum, count)}; "moving" are the moves of moving agents.

  apply: apply({"params": params}, batch) -> logits [B, T, A, V].
  """

  def loss_fn(params, batch, key):
    del key  # no dropout, no sampling
    weight = batch["mask_BxTxA"].astype(jnp.float32) * record_weights(batch)[:, None, None]
    weights = {"loss": weight, "moving": weight * batch["moving_BxA"].astype(jnp.float32)[:, None, :]}
    logits = apply({"params": params}, batch)
    return token_loss(logits, batch["tokens_BxTxA"], weights, batch["domain_B"], z_weight, domains)

  return loss_fn


def make_codes_loss(
  apply: Callable, z_weight: float, domains: int
) -> Callable[[dict, dict, jax.Array], Metrics]:
  """For codes: the same; "later" are the codes of all frames but a window's first, which has no past to go by.

  apply: apply({"params": params}, batch) -> logits [B, T, S, V].
  """

  def loss_fn(params, batch, key):
    del key
    tokens = batch["codes_BxTxS"]
    there_BxT = batch["mask_BxT"].astype(jnp.float32) * record_weights(batch)[:, None]
    weight = jnp.broadcast_to(there_BxT[..., None], tokens.shape)
    later = (jnp.arange(tokens.shape[1]) > 0).astype(jnp.float32)[None, :, None]
    weights = {"loss": weight, "later": weight * later}
    logits = apply({"params": params}, batch)
    return token_loss(logits, tokens, weights, batch["domain_B"], z_weight, domains)

  return loss_fn
