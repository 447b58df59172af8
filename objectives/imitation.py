"""Imitation: the likelihood of what a driver did, as a mixture of trajectories and as motion tokens.

A mixture of K modes with independent coordinates, for one trajectory y of F points:

  - log p(y) = - logsumexp_k ( log w_k + sum_f log p(y_f; mean_kf, scale_kf) )

with p Gaussian or Laplace, so that the modes keep all the probability that the data ask for, and a mode that
explains nothing loses its weight. Mixture densities: C. Bishop, NCRG/94/004, 1994; over trajectories:
Y. Chai et al., "MultiPath", arXiv:1910.05449. Moves (controls) are classes: cross entropy per token.
"""

import jax
import jax.numpy as jnp

from objectives.likelihood import cross_entropy, log_density
from objectives.metrics import Metrics, by_sample

LEAST_SCALE = 0.05  # m: no likelihood grows without bound on a parked car


def scale(raw: jax.Array) -> jax.Array:
  """A positive scale in metres from any number: linear when large, never under LEAST_SCALE."""
  return LEAST_SCALE + jax.nn.softplus(raw)


def least_nats(kind: str) -> float:
  """The least `mixture_nats` of a known point: both coordinates without error, at LEAST_SCALE."""
  return -2 * float(log_density(jnp.float32(0), jnp.float32(LEAST_SCALE), kind))


def mixture_nats(future, mask, mean, scale, logits, kind: str) -> jax.Array:
  """- log p of futures [..., F, 2] under modes [..., K, F, 2] with logits [..., K]: nats [...].

  mask [..., F]: which points are known; the others neither cost nor teach.
  """
  known = mask[..., None, :, None]
  error = jnp.where(known, future[..., None, :, :] - mean, 0)
  points = jnp.where(known, log_density(error, scale, kind), 0).sum((-2, -1))
  return -jax.nn.logsumexp(jax.nn.log_softmax(logits) + points, axis=-1)


def displacement(future, mask, mean) -> jax.Array:
  """Mean distance over the known points of each mode [..., K]; 0 where none is known."""
  known = jnp.broadcast_to(mask[..., None, :], mean.shape[:-1])
  distance = jnp.where(known, jnp.linalg.norm(future[..., None, :, :] - mean, axis=-1), 0)
  return distance.sum(-1) / jnp.maximum(known.sum(-1), 1)


def likeliest(mean, logits) -> jax.Array:
  """The mode of the greatest weight: [..., F, 2] of modes [..., K, F, 2] with logits [..., K]."""
  return jnp.take_along_axis(mean, logits.argmax(-1)[..., None, None, None], axis=-3)[..., 0, :, :]


def trajectory(future, mask, mean, scale, logits, kind: str) -> Metrics:
  """Metrics per clip, summed over everything but the first axis: {name: (sum_B, count_B)}.

  "loss": nats per known point. "minADE": metres to the best mode, "ADE": to the likeliest, per trajectory
  that has a known point.
  """
  nats = mixture_nats(future, mask, mean, scale, logits, kind)
  error = displacement(future, mask, mean)
  likeliest = jnp.take_along_axis(error, logits.argmax(-1)[..., None], axis=-1)[..., 0]
  some = mask.any(-1)
  axes = tuple(range(1, nats.ndim))
  return {
    "loss": (nats.sum(axes), mask.sum((*axes, nats.ndim)).astype(jnp.float32)),
    "minADE": by_sample(error.min(-1), some),
    "ADE": by_sample(likeliest, some),
  }


def actions(logits, tokens, mask) -> Metrics:
  """Cross entropy of moves: logits [B, ..., V], tokens [B, ...] int, mask [B, ...]: (sum_B, count_B)."""
  nats, _ = cross_entropy(logits, tokens)
  return {"loss": by_sample(nats, mask), "accuracy": by_sample(logits.argmax(-1) == tokens, mask)}
