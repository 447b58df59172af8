"""Parts that do nothing go without a trace; what is left has the shapes of the smaller model."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from models import layers, pruning
from models.motion import MotionModel
from models.trunk import Trunk
from tests.models.test_motion import CONFIG as MOTION
from tests.models.test_trunk import MIXINGS
from tests.worlds import random_batch

SMALL = dict(heads=3, hidden=20)


def _motion():
  config = dataclasses.replace(MOTION, width=8, head_dim=2, layers=4, steps=3, agents=4)
  return config, MotionModel, (random_batch(1, steps=3, agents=4),)


def _trunk():
  config = dataclasses.replace(MIXINGS["hybrid"], width=8, head_dim=2, layers=2, steps=3, space=2)
  x = np.random.default_rng(2).normal(size=(1, 3, 2, 8)).astype(np.float32)
  return config, Trunk, (x, jnp.ones((1, 3, 2), bool))


@functools.cache
def made(kind):
  """(config, module, inputs, axes, weights that are nowhere zero)."""
  config, module, inputs = kind()
  boxed = jax.eval_shape(module(config).init, jax.random.key(0), *inputs)["params"]
  rng = np.random.default_rng(1)
  weights = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), nn.unbox(boxed))
  return config, module, inputs, pruning.axes_of(boxed), weights


def shapes_of(config, module, inputs):
  return nn.unbox(jax.eval_shape(module(config).init, jax.random.key(0), *inputs)["params"])


def scores_of(weights, axes) -> pruning.Scores:
  return jax.jit(lambda weights: pruning.magnitude(weights, axes))(weights)


def without(weights, axes, config, smaller):
  """The weights with zeros in some heads and units of every module and in whole layers: as many as must go."""
  gone = {"heads": slice(0, config.head_count - smaller.head_count), "mlp": slice(smaller.mlp_units, None)}
  flat = {}
  for path, leaf in flatten_dict(weights).items():
    for place, name in enumerate(axes[path]):
      if name in gone:
        leaf = leaf.copy()
        leaf[(slice(None),) * place + (gone[name],)] = 0.0
    flat[path] = leaf * (path[0] != "pair_0")
  return unflatten_dict(flat)


@pytest.mark.parametrize("kind", [_motion, _trunk])
def test_parts_that_do_nothing_are_cut_out_and_the_function_stays(kind):
  config, module, inputs, axes, weights = made(kind)
  smaller = dataclasses.replace(config, layers=2, **SMALL)
  planted = without(weights, axes, config, smaller)
  left, kept = pruning.prune(planted, axes, shapes_of(smaller, module, inputs), scores_of(planted, axes))
  assert sum(leaf.size for leaf in jax.tree.leaves(left)) == smaller.param_count() < config.param_count()
  assert {tuple(numbers) for (_, axis), numbers in kept.items() if axis == "heads"} == {(1, 2, 3)}
  stacks = [numbers for (_, axis), numbers in kept.items() if axis == "layers"]
  assert stacks == ([[1]] if config.layers == 4 else [])
  whole, cut = (
    jax.jit(module(shape).apply)({"params": params}, *inputs)
    for shape, params in ((config, planted), (smaller, left))
  )
  np.testing.assert_allclose(cut, whole, rtol=1e-6, atol=1e-6)


def test_only_numbers_of_heads_units_and_layers_may_differ():
  config, module, inputs, axes, weights = made(_motion)
  scores = scores_of(weights, axes)
  for changes in (dict(width=6), dict(head_dim=4, heads=4), dict(hidden=40)):
    shapes = shapes_of(dataclasses.replace(config, **changes), module, inputs)
    with pytest.raises(ValueError, match="in the larger model"):
      pruning.prune(weights, axes, shapes, scores)


def test_a_part_counts_what_the_loss_loses_without_it_where_that_is_linear():
  """The loss of an MLP without a bend is linear in a gate on a unit: sum(g w) over its outlet is what it adds."""
  axes = {("mlp", "up"): ("embed", "mlp"), ("mlp", "down"): ("mlp", "embed")}
  rng = np.random.default_rng(0)
  up, down, x, c = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 5), (5, 3), (4, 3), (4, 3)))

  def loss(weights):
    return (c * (x @ weights["mlp"]["up"] @ weights["mlp"]["down"])).sum()

  weights = {"mlp": {"up": up, "down": down}}
  score = pruning.taylor(weights, jax.grad(loss)(weights), axes)[("mlp",), "mlp"]
  for unit in range(5):
    cut = {"mlp": {"up": up, "down": down * (np.arange(5) != unit)[:, None]}}
    np.testing.assert_allclose(score[unit], abs(loss(weights) - loss(cut)), rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_the_smallest_weights_of_all_modules_become_zero(share):
  _, _, _, axes, weights = made(_motion)
  squares = jax.tree.map(np.square, weights)
  found = flatten_dict(jax.jit(lambda weights: pruning.sparse(weights, axes, squares, share))(weights))
  among = [path for path in found if set(axes[path]) & set(pruning.AXES)]
  before, after = (
    np.concatenate([np.ravel(tree[path]) for path in among]) for tree in (flatten_dict(weights), found)
  )
  assert (after == 0).mean() == pytest.approx(share, abs=0.01)
  assert abs(before[after == 0]).max(initial=0) <= abs(after[after != 0]).min()
  rest = [path for path in found if path not in among]
  assert rest and all((found[path] == flatten_dict(weights)[path]).all() for path in rest)


def test_layers_come_apart_and_together():
  shapes = {"trunk": {"units": {"a": jnp.zeros((3, 2))}, "norm": jnp.zeros(2)}}
  scanned = {"trunk": {"units": {"a": jnp.arange(6.0).reshape(3, 2)}, "norm": jnp.ones(2)}}
  one = {"a": jnp.zeros(2)}
  apart = layers.unstacked(scanned, {"trunk": {"unit_0": one, "unit_1": one, "unit_2": one, "norm": 0}})
  np.testing.assert_array_equal(apart["trunk"]["unit_1"]["a"], [2.0, 3.0])
  jax.tree.map(np.testing.assert_array_equal, layers.stacked(apart, shapes), scanned)
