"""Contrastive objective: InfoNCE between views of the same moment, as sums and counts.

For unit vectors a_i, b_i of two views (camera and LiDAR, LiDAR and BEV, ...) and an inverse temperature s

  loss_i = - 1/2 log( e^(s a_i.b_i) / sum_j e^(s a_i.b_j) ) - 1/2 log( e^(s a_i.b_i) / sum_j e^(s a_j.b_i) ),

over i that have both views, and j = i or j of another scene: two moments of one scene look alike, so they are
no negatives; a row without any says nothing, and does not count. InfoNCE: A. van den Oord et al., arXiv:1807.03748.
Symmetric, with a learned temperature: A. Radford et al., CLIP, arXiv:2103.00020. The negatives are the whole batch,
over all devices: the loss is written for global arrays, and the compiler gathers the vectors. Micro-batches see
fewer negatives, so accumulation does change this loss.
"""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives import collapse
from objectives.likelihood import NEVER
from objectives.metrics import Metrics, by_domain, weighted

LEAST_SQUARE = 1e-12  # of a length that is divided by
LARGEST_SCALE = 100.0  # of CLIP: a scale that grows on makes steps unstable


def unit(x: jax.Array) -> jax.Array:
  """x / |x| over the last axis; the zero vector stays zero, with a finite gradient."""
  return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), LEAST_SQUARE))


def info_nce(
  a_BxD: jax.Array, b_BxD: jax.Array, both_B: jax.Array, scene_B: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(nats [B], correct [B], asked [B]): the loss of each row, whether its partner is nearer than all negatives in
  both directions, and whether it has both views and a negative; the others give 0.

  Args:
    a_BxD, b_BxD: the two views, of any length. both_B: bool, rows that have both.
    scene_B: int, rows of one scene are no negatives of each other. scale: inverse temperature.
  """
  logits = scale * jnp.einsum("id,jd->ij", unit(a_BxD), unit(b_BxD))
  same = scene_B[:, None] == scene_B[None, :]
  own = jnp.eye(len(scene_B), dtype=bool)
  negative = both_B[:, None] & both_B[None, :] & ~same
  others = jnp.where(negative, logits, NEVER)
  logits = jnp.where(own, logits, others)
  match = jnp.diagonal(logits)
  nats = (jax.nn.logsumexp(logits, axis=1) + jax.nn.logsumexp(logits, axis=0)) / 2 - match
  # A tie is no answer: all are equal after a collapse.
  nearest = (others.max(1) < match) & (others.max(0) < match)
  asked = negative.any(1)
  return jnp.where(asked, nats, 0.0), nearest & asked, asked


@jax.custom_vjp
def at_most(x: jax.Array, bound: float) -> jax.Array:
  """min(x, bound), with the gradient of x, but for one whose descent would take x further beyond the bound."""
  return jnp.minimum(x, bound)


def _inward(beyond, gradient):
  return jnp.where(beyond & (gradient < 0), 0.0, gradient), None


at_most.defvjp(lambda x, bound: (jnp.minimum(x, bound), x >= bound), _inward)


def make_loss(apply: Callable, domains: int) -> Callable[[dict, dict, jax.Array], Metrics]:
  """Returns loss_fn(params, batch, key) -> {name: (sum, count)}.

  Args:
    apply: apply({"params": params}, batch) -> (views {name: z_BxD}, present {name: bool [B]}, log_scale []).
    domains: number of domains; "by_domain" is a vector of that length.

  batch: "scene_B" and "domain_B" int, "real_B" bool, besides the model's. All pairs of views count alike;
  "objective" and "loss" are nats per row and pair, "accuracy" the share of rows that find their partner.
  """

  def loss_fn(params, batch, key):
    del key
    views, present, log_scale = apply({"params": params}, batch)
    scale = jnp.exp(at_most(log_scale, math.log(LARGEST_SCALE)))
    scene_B = batch["scene_B"].astype(jnp.int32)
    present = {name: there & batch["real_B"] for name, there in present.items()}
    pairs = list(itertools.combinations(sorted(views), 2))
    both_BxN = jnp.stack([present[a] & present[b] for a, b in pairs], axis=1)
    rows = [info_nce(views[a], views[b], both_BxN[:, i], scene_B, scale) for i, (a, b) in enumerate(pairs)]
    nats_BxN, correct_BxN, asked_BxN = (jnp.stack(values, axis=1) for values in zip(*rows, strict=True))
    loss = weighted(nats_BxN, asked_BxN)
    features = jnp.concatenate([views[name] for name in sorted(views)])
    there = jnp.concatenate([present[name] for name in sorted(views)])
    return {
      "objective": loss,
      "loss": loss,
      "accuracy": weighted(correct_BxN.astype(jnp.float32), asked_BxN),
      "scale": (scale, jnp.float32(1)),
      "by_domain": by_domain(nats_BxN, asked_BxN, batch["domain_B"], domains),
      **collapse.monitors(unit(features), there),
    }

  return loss_fn
