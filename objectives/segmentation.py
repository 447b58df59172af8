"""Segmentation, and occupancy of later steps: cross entropy per cell, intersection over union as counts."""

import jax
import jax.numpy as jnp

from objectives.likelihood import cross_entropy


def loss(logits, labels, mask):
  """{name: (sum_B, count_B)} of logits [B, ..., V], labels [B, ...] int and mask [B, ...] of cells that are known.

  "loss": nats per cell. "accuracy". "iou": [B, V] cells that are and are said to be of a class, over those that
  are or are said to be.
  """
  known = mask.astype(jnp.float32)
  labels = labels.astype(jnp.int32)
  nats, _ = cross_entropy(logits, labels)
  cells = tuple(range(1, labels.ndim))
  classes = logits.shape[-1]
  is_class = jax.nn.one_hot(labels, classes) * known[..., None]
  said_class = jax.nn.one_hot(logits.argmax(-1), classes) * known[..., None]
  both = (is_class * said_class).sum(cells)
  count = known.sum(cells)
  return {
    "loss": ((nats * known).sum(cells), count),
    "accuracy": (both.sum(-1), count),
    "iou": (both, is_class.sum(cells) + said_class.sum(cells) - both),
  }


def later(cells_BxTxHxW: jax.Array, ahead: int):
  """(labels [B, T, J, H, W], mask of the same shape): the cells at t + 1 .. t + J, each in its own ego frame.

  A model that reads no step after t and answers them predicts occupancy: what will be where.
  """
  steps = cells_BxTxHxW.shape[1]
  at = jnp.arange(steps)[:, None] + 1 + jnp.arange(ahead)[None]
  labels = cells_BxTxHxW[:, jnp.minimum(at, steps - 1)]
  return labels, jnp.broadcast_to((at < steps)[None, :, :, None, None], labels.shape)
