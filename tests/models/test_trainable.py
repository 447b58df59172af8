import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from data.errors import BadInput
from models import sites, trainable

PARAMS = {
  "stem_bias": jnp.ones(3),
  "bias_0": jnp.ones((2, 1)),
  "head": jnp.ones((4, 2)),
  "blocks": {"mlp": {"up": jnp.ones((3, 5)), "bias": jnp.ones(5)}, "mlp_norm": {"scale": jnp.ones(3)}},
  "headwind": jnp.ones(2),
}


@pytest.mark.parametrize(
  ("pattern", "names"),
  [
    (trainable.BIAS, {"stem_bias", "bias_0", "blocks/mlp/bias"}),
    (trainable.NORM, {"blocks/mlp_norm/scale"}),
    (trainable.HEAD, {"head", "bias_0"}),
  ],
)
def test_rules_name_the_leaves_they_mean(pattern, names):
  part = trainable.select(PARAMS, trainable.rule(pattern))
  assert {"/".join(path) for path in flatten_dict(part)} == names


@pytest.mark.parametrize(
  ("pattern", "found", "left"),
  [
    (trainable.NORM, ("denoiser/block_0/norm_2/scale", "a/query_norm/scale"), ("log_scale", "normal/scale")),
    (
      trainable.HEAD,
      (
        "student/head",
        "student/bias",
        "denoiser/head",
        "denoiser/head_bias",
        "heads/plan",
        "head_camera/kernel",
      ),
      ("pairs/mlp/bias", "ahead/kernel", "headwind"),
    ),
  ],
)
def test_rules_find_the_weights_of_models_within_models(pattern, found, left):
  rule = trainable.rule(pattern)
  assert [path for path in found + left if rule(tuple(path.split("/")))] == list(found)


def test_what_is_selected_and_changed_goes_back_and_nothing_else_changes():
  part = jax.tree.map(lambda leaf: leaf + 1, trainable.select(PARAMS, trainable.rule(trainable.BIAS)))
  back = trainable.insert(PARAMS, part)
  expected = {name: leaf + 1 if "bias" in name else leaf for name, leaf in PARAMS.items() if name != "blocks"}
  for name, leaf in expected.items():
    np.testing.assert_array_equal(back[name], leaf)
  np.testing.assert_array_equal(back["blocks"]["mlp"]["bias"], 2 * np.ones(5))
  np.testing.assert_array_equal(back["blocks"]["mlp"]["up"], np.ones((3, 5)))
  with pytest.raises(BadInput, match="no place"):
    trainable.insert(PARAMS, {"blocks": {"other": jnp.ones(1)}})


def test_a_rule_that_finds_nothing_and_one_that_is_no_rule():
  with pytest.raises(BadInput, match="no weight is trainable"):
    trainable.select(PARAMS, trainable.rule("nowhere"))
  with pytest.raises(BadInput, match="no regular expression"):
    trainable.rule("(")


def test_cost_counts_what_adam_keeps():
  part = trainable.select(PARAMS, trainable.rule(trainable.HEAD))  # 8 + 2 of 38 weights
  state = jax.eval_shape(optax.scale_by_adam().init, part)
  assert trainable.cost(PARAMS, part, state) == {
    "trainable": 10,
    "total": 38,
    "share": pytest.approx(10 / 38),
    "optimizer_bytes": 2 * 4 * 10 + 4,  # two moments and Adam's count
    "round_bytes": 40,
  }


def test_a_site_replaced_leaves_the_others_bitwise():
  parts = [{"a": jnp.full(3, float(site))} for site in range(3)]
  stacked = sites.put(sites.stack(parts), 1, {"a": jnp.full(3, 9.0)})
  assert [float(sites.take(stacked, site)["a"][0]) for site in range(3)] == [0.0, 9.0, 2.0]
  with pytest.raises(BadInput, match="different weights"):
    sites.stack([{"a": jnp.zeros(3)}, {"a": jnp.zeros(4)}])
