"""Many sites over one base: what each site trained, stacked on a leading site axis.

A part is what a site trains and sends: low-rank deltas (models/lora.py) or the trainable leaves of a tree
(models/trainable.py). `combine(base, part)` gives whole weights: `lora.merge` with its alpha, or `trainable.insert`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from data.errors import BadInput
from models.trainable import Params


def stack(parts: list[Params]) -> Params:
  """Parts of one structure on a new leading axis [sites, ...]; parts that differ in it raise BadInput."""
  shapes = [jax.tree.map(jnp.shape, part) for part in parts]
  if any(shape != shapes[0] for shape in shapes):
    raise BadInput("the sites train different weights", "parts to stack", "adapt them by one configuration")
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


def take(stacked: Params, site: int) -> Params:
  """The part of one site."""
  return jax.tree.map(lambda leaf: leaf[site], stacked)


def put(stacked: Params, site: int, part: Params) -> Params:
  """`stacked` with the part of one site replaced; the others keep every bit."""
  return jax.tree.map(lambda leaf, fresh: leaf.at[site].set(fresh), stacked, part)


def apply(function: Callable, combine: Callable, base: Params, stacked: Params, batches: Any) -> Any:
  """function(weights of a site, its batch) for all sites at once, in one vmap.

  Leaves that `combine` only passes on are held once. What it computes, such as merged weights, is held once per site.

  Args: batches: a leading site axis on every array, one batch per site.
  """
  return jax.vmap(lambda part, batch: function(combine(base, part), batch))(stacked, batches)
