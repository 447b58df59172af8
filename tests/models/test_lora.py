import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from data import context
from data.errors import BadInput
from models import lora, sites, trainable
from models.motion import MotionModel
from models.motion_config import MotionConfig
from tests.worlds import random_batch

FACTORS = (13, 13)
ALPHA = 8.0


@pytest.fixture(scope="module")
def made():
  """Scanned: every weight of a block has a leading axis of layers."""
  config = MotionConfig(8, 2, 4, FACTORS, context.FEATURES, 4, 4, "float32", True, "none", 0, 0, 0, 0)
  model, batch = MotionModel(config), random_batch(2, 4, 4)
  batch["tokens_BxTxA"] %= FACTORS[0] * FACTORS[1]
  boxed = jax.eval_shape(lambda key: model.init(key, batch)["params"], jax.random.key(0))
  return model, batch, boxed, noise(nn.unbox(boxed), 0.3, 0)


def noise(shapes, scale: float, seed: int):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32), shapes)


def deltas_of(boxed, seed: int = 1, match: str = lora.MATRICES):
  """Deltas as after training: B no longer zero."""
  shapes = jax.eval_shape(lambda key: lora.init(key, boxed, 2, trainable.rule(match)), jax.random.key(0))
  return noise(nn.unbox(shapes), 0.2, seed)


def test_a_fresh_delta_changes_no_bit_and_covers_the_block_matrices(made):
  _, _, boxed, base = made
  fresh = nn.unbox(lora.init(jax.random.key(1), boxed, 2, trainable.rule(lora.MATRICES)))
  jax.tree.map(np.testing.assert_array_equal, lora.merge(base, fresh, ALPHA), base)
  assert {path[-2] for path in flatten_dict(fresh)} == {"q", "k", "v", "o", "up", "down"}


@pytest.mark.parametrize(
  ("weight", "inward", "outward"),
  [("attention/q", "d", "hk"), ("attention/o", "hk", "d"), ("mlp/up", "d", "m"), ("mlp/down", "m", "d")],
)
def test_merged_equals_unmerged(made, weight, inward, outward):
  """x W' is what the product gives without W'; sums over the axes of the merged weight written out."""
  _, _, boxed, base = made
  deltas = deltas_of(boxed)
  group, name = weight.split("/")
  w, delta, merged = (
    tree["pairs"]["time"][group][name] for tree in (base, deltas, lora.merge(base, deltas, ALPHA))
  )
  x = np.random.default_rng(0).normal(size=(1, 3, *w.shape[1 : 1 + len(inward)])).astype(np.float32)
  found = jax.vmap(lambda x, w, delta: lora.unmerged(x, w, delta, ALPHA))(x, w, delta)
  whole = np.einsum(f"ln{inward},l{inward}{outward}->ln{outward}", x, merged)
  np.testing.assert_allclose(found, whole, atol=1e-5)


def test_a_delta_has_its_rank_and_the_placement_of_its_weight(made):
  _, _, boxed, base = made
  match = r"time/attention/o$"
  fresh = jax.eval_shape(lambda key: lora.init(key, boxed, 2, trainable.rule(match)), jax.random.key(1))
  a, b = jax.tree.leaves(fresh, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned))
  assert a.names == ("layers", "heads", "head_dim", None)
  assert b.names == ("layers", None, "embed")
  difference = jax.tree.map(jnp.subtract, lora.merge(base, deltas_of(boxed, match=match), ALPHA), base)
  changed = [np.asarray(leaf) for leaf in jax.tree.leaves(difference) if jnp.abs(leaf).max() > 0]
  assert [int(np.linalg.matrix_rank(leaf.reshape(-1, leaf.shape[-1]), rtol=1e-4)) for leaf in changed] == [2]


@pytest.mark.parametrize(
  ("rank", "match", "words"),
  [
    (2, "nothing", "no weight matches .* paths such as"),
    (2, "stem_bias", "no two sides"),
    (9, "/q$", "choose 1 to 8"),
  ],
)
def test_what_cannot_be_adapted_is_refused(made, rank, match, words):
  with pytest.raises(BadInput, match=words):
    lora.init(jax.random.key(0), made[2], rank, trainable.rule(match))


def test_deltas_of_another_base_are_refused(made):
  _, _, boxed, base = made
  deltas = deltas_of(boxed)
  with pytest.raises(BadInput, match="no weight of the base"):
    lora.merge(base, {"other": {}}, ALPHA)
  wider = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf], -1), deltas)
  with pytest.raises(BadInput, match="its delta"):
    lora.merge(base, wider, ALPHA)


def test_two_sites_over_one_base_equal_each_exported(made):
  """All at once, unmerged until the loss, against each site's weights merged once and run alone."""
  model, batch, boxed, base = made
  parts = [deltas_of(boxed, seed) for seed in (1, 2)]
  batches = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), batch)

  def combine(base, part):
    return lora.merge(base, part, ALPHA)

  @jax.jit
  def forward(params, batch):
    return model.apply({"params": params}, batch)

  together = jax.jit(lambda s, x: sites.apply(forward, combine, base, s, x))(sites.stack(parts), batches)
  for site, part in enumerate(parts):
    alone = forward(combine(base, part), sites.take(batches, site))
    np.testing.assert_allclose(together[site], alone, atol=1e-5)
