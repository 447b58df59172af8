"""Adapters and prefixes: what they add at first, and that their configurations count them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import context
from models import adapters, trainable
from models.layers import Attention
from models.motion import MotionModel
from models.motion_config import MotionConfig
from models.trunk import Trunk
from models.trunk_config import TrunkConfig
from scaling.planning import hlo, program_cost
from tests.worlds import random_batch

MOTION = MotionConfig(16, 2, 8, (15, 17), context.FEATURES, 8, 8, "float32", False, "none", 0, 0, 0, 0)
TRUNK = TrunkConfig(16, 2, 8, "hybrid", 4, 4, True, 4, 3, "float32", False, "none", 0, 0, 0, 0, 0)
PLACES = {"motion, adapter": (MOTION, 3, 0), "motion, prefix": (MOTION, 0, 5),
          "trunk, adapter": (TRUNK, 3, 0), "trunk, prefix": (TRUNK, 0, 5)}  # fmt: skip


def model_of(config):
  if isinstance(config, MotionConfig):
    return MotionModel(config), (random_batch(2),), 2 * 8 * 8
  x = np.random.default_rng(0).normal(size=(2, 4, 3, 16)).astype(np.float32)
  return Trunk(config), (x, np.ones((2, 4, 3), bool)), 2 * 4 * 3


@pytest.mark.parametrize("name", PLACES)
def test_they_are_counted(name):
  plain, adapter, prefix = PLACES[name]
  config = dataclasses.replace(plain, adapter=adapter, prefix=prefix)
  model, inputs, tokens = model_of(config)
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"])
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == config.param_count()
  assert (
    config.non_embedding_params() - plain.non_embedding_params() == config.param_count() - plain.param_count()
  )
  part = trainable.select(shapes, trainable.rule(adapters.ADAPTERS if adapter else adapters.PREFIX))
  assert sum(leaf.size for leaf in jax.tree.leaves(part)) == config.param_count() - plain.param_count()
  forward = jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs)).lower(shapes, *inputs)
  flops = program_cost.cost(hlo.parse(forward.compile().as_text())).flops
  assert 3 * flops / tokens == pytest.approx(config.flops_per_token(), rel=0.01)


def test_a_fresh_adapter_changes_nothing():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 8)), jnp.float32)
  module = adapters.Bottleneck(4, jnp.float32)
  params = nn.unbox(module.init(jax.random.key(0), x))
  np.testing.assert_array_equal(module.apply(params, x), x)
  params["params"]["up"] = jnp.ones((4, 8))
  expected = x + jax.nn.gelu(x @ params["params"]["down"]).sum(-1, keepdims=True)
  np.testing.assert_allclose(module.apply(params, x), expected, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_a_prefix_is_tokens_before_the_sequence(causal):
  """Keys and values taken from P more tokens in front give what these tokens would have given."""
  rng = np.random.default_rng(0)
  before, x = (jnp.asarray(rng.normal(size=(1, n, 8)), jnp.float32) for n in (2, 3))
  whole = Attention(2, 4, jnp.float32, False, prefix=0, block=0)
  seen = jnp.asarray(rng.random((1, 1, 3, 3)) < 0.7) | jnp.eye(3, dtype=bool)[None, None]
  seen &= jnp.tril(jnp.ones((3, 3), bool))[None, None] | (not causal)
  padded = jnp.pad(seen, ((0, 0), (0, 0), (2, 0), (2, 0)), constant_values=True)
  together = jnp.concatenate([before, x], 1)
  params = nn.unbox(whole.init(jax.random.key(0), together, lambda rows: padded[:, :, rows]))["params"]
  params["o"] = jnp.asarray(rng.normal(size=params["o"].shape), jnp.float32)
  tokens = {
    f"prefix_{name}_tokens": jnp.einsum("nsd,dhk->shk", before, params[name[0]]) for name in ("key", "value")
  }
  prefixed = Attention(2, 4, jnp.float32, False, prefix=2, block=0)
  found = prefixed.apply({"params": params | tokens}, x, lambda rows: seen[:, :, rows])
  expected = whole.apply({"params": params}, together, lambda rows: padded[:, :, rows])[:, 2:]
  np.testing.assert_allclose(found, expected, atol=1e-5)
