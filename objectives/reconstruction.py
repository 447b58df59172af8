"""Reconstruction through codes: what a tokeniser loses, and that its codebook stays in use.

  objective = mean over cells of -log p(class) + weight * mean over codes of |x - stop(q)|^2 / E

The second term, commitment, keeps the encoder's vectors x near their codes q; the codebook itself moves by averages
of what chose it (models/vq.py), which travel as the metric "codes": (sums_KxE, counts_K), with "candidates":
(vectors_KxE, ones_K) for the codes that died. Codes that are not learned have neither. "perplexity" is that of the
codes of a batch (objectives/collapse.py). A. van den Oord et al., arXiv:1711.00937.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives.collapse import code_perplexity
from objectives.likelihood import cross_entropy
from objectives.metrics import Metrics, by_domain, record_weights, weighted


def make_loss(
  apply: Callable, uses: Callable, codebook: Callable | None, commitment: float, domains: int
) -> Callable[[dict, dict, jax.Array], Metrics]:
  """Returns loss_fn(params, batch, key) -> {name: (sum, count)}.

  Args:
    apply: apply({"params": params}, batch) -> {"logits_BxTxHxWxV", "encoded_BxTxSxE", "quantised_BxTxSxE",
      "index_BxTxS"}, see models/bev_tokeniser.py.
    uses: (indices [N], weights [N]) -> counts [K].
    codebook: of a learned one, (x [N, E], indices [N], weights [N], key) -> (sums [K, E], vectors [K, E] of the batch
      where codes may come back to life); None: codes are not learned.
    commitment: its weight; 0 where codes are no vectors to stay near.
    domains: their number.

  "loss" is nats per cell, "accuracy" the share of cells that come back as they were.
  """

  def loss_fn(params, batch, key):
    out = apply({"params": params}, batch)
    logits, encoded = out["logits_BxTxHxWxV"], out["encoded_BxTxSxE"]
    cells = batch["cells_BxTxHxW"].astype(jnp.int32)
    real_B = record_weights(batch)
    weights = jnp.broadcast_to(real_B[:, None, None, None], cells.shape)
    nats, _ = cross_entropy(logits, cells)
    loss, count = weighted(nats, weights)
    coded = jnp.broadcast_to(real_B[:, None, None], encoded.shape[:-1])
    apart = ((encoded - jax.lax.stop_gradient(out["quantised_BxTxSxE"])) ** 2).mean(-1)
    far, codes = weighted(apart, coded)
    index_N, weight_N = out["index_BxTxS"].reshape(-1), coded.reshape(-1)
    counts = uses(index_N, weight_N)
    metrics = {
      # The mean over codes, in the units of a sum over cells.
      "objective": (loss + commitment * far * (count / jnp.maximum(codes, 1.0)), count),
      "loss": (loss, count),
      "by_domain": by_domain(nats, weights, batch["domain_B"], domains),
      "accuracy": weighted((logits.argmax(-1) == cells).astype(jnp.float32), weights),
      "commitment": (far, codes),
      "perplexity": (code_perplexity(counts), jnp.float32(1.0)),
    }
    if codebook is None:
      return metrics
    flat = jax.lax.stop_gradient(encoded).reshape(-1, encoded.shape[-1])
    sums, vectors = codebook(flat, index_N, weight_N, key)
    return metrics | {"codes": (sums, counts), "candidates": (vectors, jnp.ones_like(counts))}

  return loss_fn
