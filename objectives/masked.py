"""Masked reconstruction: predict what hidden tokens show, from the visible ones.

  loss = sum over hidden tokens of |prediction - target|^2 / P,   count = number of hidden tokens

with P values per token. Visible tokens and places without a token do not count. Targets are the raw sensor: image
or raster patches, each standardised by its own mean and deviation where asked, and statistics of the points in a
pillar. K. He et al., "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377. Points: C. Min et al.,
"Occupancy-MAE", arXiv:2206.09900.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from objectives import draws
from objectives.metrics import Metrics, by_domain, record_weights, weighted

EPSILON = 1e-6  # MAE's: keeps a patch of one colour at zero


def standardised(x: jax.Array) -> jax.Array:
  """(x - mean) / deviation over the values of each token: contrast counts, brightness and scale do not."""
  x = x.astype(jnp.float32)
  mean = x.mean(-1, keepdims=True)
  return (x - mean) * jax.lax.rsqrt(x.var(-1, keepdims=True) + EPSILON)


def pillar_statistics(cell_P: jax.Array, values_PxF: jax.Array, cells: int) -> jax.Array:
  """[cells, 2 + F]: of the points in each cell: are there any (0 or 1), log(1 + number), the mean of their values.

  cell_P: int, the cell of each point; `cells` for a point that is in none. Zeros where there is no point.
  """
  values = jnp.concatenate([jnp.ones((len(cell_P), 1)), values_PxF.astype(jnp.float32)], axis=-1)
  sums = jax.ops.segment_sum(values, cell_P, cells + 1)[:-1]
  number = sums[:, :1]
  return jnp.concatenate(
    [jnp.sign(number), jnp.log1p(number), sums[:, 1:] / jnp.maximum(number, 1.0)], axis=-1
  )


def squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Mean over the values of each token: [..., P] to [...]."""
  return ((prediction.astype(jnp.float32) - target) ** 2).mean(-1)


def pillar_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Of `pillar_statistics`: nats of the first, a logit, and the squared error of the others where there are points."""
  logit, occupied = prediction[..., 0].astype(jnp.float32), target[..., 0]
  nats = jax.nn.softplus(logit) - occupied * logit
  return nats + occupied * squared_error(prediction[..., 1:], target[..., 1:])


def make_loss(
  apply: Callable,
  hide: Callable[[jax.Array, jax.Array], jax.Array],
  targets: Mapping[str, tuple[Callable, Callable]],
  domains: int,
) -> Callable[[dict, dict, jax.Array], Metrics]:
  """Returns loss_fn(params, batch, key) -> {name: (sum, count)}.

  Args:
    apply: apply({"params": params}, batch, hide) -> (predictions, hidden), both {sensor: ...}: [B, T, S, P] and
      bool [B, T, S]; it asks hide(valid_BxTxS) -> bool [B, T, S] which of its tokens to hide.
    hide: (key, valid_BxTxS) -> bool [B, T, S], as `masks.hide` with its other arguments bound; called for every
      record by itself.
    targets: {sensor: (batch -> [B, T, S, P], (prediction, target) -> error per token)}.
    domains: number of domains; "by_domain" is a vector of that length.

  batch: "domain_B" int and "real_B" bool besides the model's. "objective" and "loss" are the error per hidden token
  over all sensors; "loss_<sensor>" of each.
  """

  def loss_fn(params, batch, key):
    predictions, hidden = apply(
      {"params": params}, batch, lambda valid: draws.by_record(hide, key, batch, valid)
    )
    metrics, errors, weights = {}, [], []
    for sensor in sorted(predictions):
      target, error = targets[sensor]
      errors.append(error(predictions[sensor], target(batch)))
      weights.append(hidden[sensor] * record_weights(batch)[:, None, None])
      metrics[f"loss_{sensor}"] = weighted(errors[-1], weights[-1])
    error_BxTxS, weight_BxTxS = jnp.concatenate(errors, axis=2), jnp.concatenate(weights, axis=2)
    loss = weighted(error_BxTxS, weight_BxTxS)
    slices = by_domain(error_BxTxS, weight_BxTxS, batch["domain_B"], domains)
    return {"objective": loss, "loss": loss, "by_domain": slices, **metrics}

  return loss_fn
