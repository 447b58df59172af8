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

Metrics = dict[str, tuple[jax.Array, jax.Array]]
PILLAR_VALUES = 6  # occupied, log(1 + points), mean x, y, z, intensity


def patches(x: jax.Array, size: int) -> jax.Array:
  """[..., H, W, C] to [..., H / size * W / size, size * size * C], row by row; size divides H and W."""
  *lead, h, w, c = x.shape
  cut = x.reshape(*lead, h // size, size, w // size, size, c)
  return jnp.moveaxis(cut, -3, -4).reshape(*lead, (h // size) * (w // size), size * size * c)


def standardised(x: jax.Array) -> jax.Array:
  """(x - mean) / deviation over the values of each token: contrast counts, brightness and scale do not."""
  x = x.astype(jnp.float32)
  mean = x.mean(-1, keepdims=True)
  return (x - mean) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)


def pillar_statistics(
  points_BxTxPx4: jax.Array, echo_BxTxP: jax.Array, cells: int, reach: float
) -> jax.Array:
  """[B, T, cells * cells, 6] of the points in each pillar of the square |x|, |y| < reach metres, x by rows.

  Values: occupied 0 or 1, log(1 + points), then the means of x and y from the pillar's centre in pillars (within
  -0.5 and 0.5), of z in metres and of intensity; 0 where there is no point.
  """
  points = points_BxTxPx4.astype(jnp.float32)
  place = (points[..., :2] + reach) * (cells / (2 * reach))
  cell = jnp.floor(place)
  inside = echo_BxTxP & ((cell >= 0) & (cell < cells)).all(-1)
  index = jnp.where(inside, cell[..., 0] * cells + cell[..., 1], cells * cells).astype(jnp.int32)
  values = jnp.concatenate([place - cell - 0.5, points[..., 2:]], axis=-1)
  values = jnp.concatenate([jnp.ones((*index.shape, 1)), values], axis=-1)

  def gather(index_P, values_Px5):  # the last bin takes what is outside
    return jax.ops.segment_sum(values_Px5, index_P, cells * cells + 1)[:-1]

  sums = jax.vmap(jax.vmap(gather))(index, jnp.where(inside[..., None], values, 0.0))
  number = sums[..., :1]
  return jnp.concatenate(
    [(number > 0).astype(jnp.float32), jnp.log1p(number), sums[..., 1:] / jnp.maximum(number, 1.0)], axis=-1
  )


def squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Mean over the values of each token: [..., P] to [...]."""
  return ((prediction.astype(jnp.float32) - target) ** 2).mean(-1)


def pillar_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Nats of the occupancy (a logit), and the squared error of the statistics where there are points."""
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
    hide: (key, valid_BxTxS) -> bool [B, T, S], as `masks.hide` with its other arguments bound.
    targets: {sensor: (batch -> [B, T, S, P], (prediction, target) -> error per token)}.
    domains: number of domains; "by_domain" is a vector of that length.

  "objective" and "loss" are the error per hidden token over all sensors; "loss_<sensor>" of each.
  """

  def loss_fn(params, batch, key):
    predictions, hidden = apply({"params": params}, batch, lambda valid: hide(key, valid))
    metrics, total, count = {}, 0.0, 0.0
    for sensor in sorted(predictions):
      target, error = targets[sensor]
      weight = hidden[sensor].astype(jnp.float32)
      sums = (error(predictions[sensor], target(batch)) * weight).sum((1, 2))
      metrics[f"loss_{sensor}"] = (sums.sum(), weight.sum())
      total, count = total + sums, count + weight.sum((1, 2))
    home = jax.nn.one_hot(batch["domain_B"], domains, dtype=jnp.float32)
    both = (jnp.sum(total), jnp.sum(count))
    return {"objective": both, "loss": both, "by_domain": (total @ home, count @ home), **metrics}

  return loss_fn
