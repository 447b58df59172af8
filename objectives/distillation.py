"""A student that follows a teacher: by what it predicts, and by what it computes on the way.

  predictions:  T^2 KL(softmax(teacher / T) || softmax(student / T))
  trajectories: E_{y ~ teacher}[-log student(y)] of mixtures of trajectories, from one draw of each of its modes
  features:     |s / |s| - t / |t||^2 = 2 - 2 cos(s, t)

The factor T^2 keeps the gradient's size when the temperature T changes, so that the hard targets beside it keep
their weight. G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
Features are matched by direction, since widths and norms of two models differ: A. Romero et al., "FitNets",
arXiv:1412.6550, with the normalisation of S. Zagoruyko, N. Komodakis, arXiv:1612.03928.
No gradient reaches the teacher.
"""

import jax
import jax.numpy as jnp

from objectives.contrastive import unit
from objectives.imitation import mixture_nats

SumCount = tuple[jax.Array, jax.Array]


def predictions(student: jax.Array, teacher: jax.Array, mask: jax.Array, temperature: float) -> SumCount:
  """(sum of nats times T^2, count) of logits [..., V] where `mask` [...] is true, or as it weighs."""
  said = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
  wanted = jax.nn.log_softmax(jax.lax.stop_gradient(teacher).astype(jnp.float32) / temperature)
  # A class that the teacher rules out (-inf) contributes nothing, as p log p goes to 0.
  apart = jnp.where(jnp.isfinite(wanted), jnp.exp(wanted) * (wanted - said), 0.0).sum(-1)
  weight = mask.astype(jnp.float32)
  return temperature**2 * (apart * weight).sum(), weight.sum()


def trajectories(
  student, teacher, mask: jax.Array, noise: jax.Array, weight: jax.Array, kind: str
) -> SumCount:
  """(sum of nats, count of known points) of the teacher's trajectories under the student's mixture.

  Args:
    student, teacher: (mean [..., K, F, 2], scale [..., K, F, 2], logits [..., K]).
    mask: [..., F], points that are known.
    noise: of the shape of the teacher's mean, from the density of `kind` at scale 1.
    weight: [...], what a trajectory counts.

  The mean over `noise` is the cross entropy: least, for the teacher's own weights, at the teacher's entropy.
  """
  mean, scale, logits = jax.lax.stop_gradient(teacher)
  own_mean, own_scale, own_logits = student
  drawn = mean + scale * noise
  one_each = own_mean[..., None, :, :, :], own_scale[..., None, :, :, :], own_logits[..., None, :]
  nats = mixture_nats(drawn, mask[..., None, :], *one_each, kind)
  apart = (jax.nn.softmax(logits) * nats).sum(-1)
  return (apart * weight).sum(), (mask * weight[..., None]).sum()


def features(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> SumCount:
  """(sum, count) of squared distances of features [..., D] made unit vectors, where `mask` [...] is true."""
  said, wanted = unit(student.astype(jnp.float32)), unit(teacher.astype(jnp.float32))
  apart = ((said - jax.lax.stop_gradient(wanted)) ** 2).sum(-1)
  weight = mask.astype(jnp.float32)
  return (apart * weight).sum(), weight.sum()
