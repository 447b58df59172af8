"""The trunk: mixings agree where their masks do, see no future and nothing invalid, cost what is counted."""

import copy
import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from models.trunk import Trunk
from models.trunk_config import TrunkConfig
from scaling.planning import hlo, program_cost

CONFIG = TrunkConfig(
  width=16, layers=2, head_dim=8, mixing="full", state=0, chunk=0, causal=True, steps=3, space=4, dtype="float32",
  scan=False, remat="none", block=0, adapter=0, prefix=0, heads=0, hidden=0,
)  # fmt: skip
MIXINGS = {
  "full": CONFIG,
  "factorised": dataclasses.replace(CONFIG, mixing="factorised", layers=4),
  "state_space": dataclasses.replace(CONFIG, mixing="state_space", state=4, chunk=5),
  "hybrid": dataclasses.replace(CONFIG, mixing="hybrid", layers=4, state=4, chunk=2),
}


def _input(config, batch=2, seed=0):
  rng = np.random.default_rng(seed)
  shape = (batch, config.steps, config.space)
  return rng.normal(size=(*shape, config.width)).astype(np.float32), rng.random(shape) < 0.8


@functools.cache
def _params(config):
  """Parameters that are nowhere zero, as after training: fresh ones silence attention."""
  shapes = nn.unbox(jax.eval_shape(Trunk(config).init, jax.random.key(0), *_input(config))["params"])
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    slow = path[-1].key == "rate_scale"  # or the first token would be forgotten to the last bit
    mean = -1.0 if slow else 1.0 if len(leaf.shape) == 1 else 0.0
    return rng.normal(mean, 0.3, leaf.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, shapes)


@functools.cache
def _apply(config):
  return jax.jit(lambda params, x, valid: Trunk(config).apply({"params": params}, x, valid))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
  ("over", "idle", "steps", "space"), [("time", "space", 5, 1), ("space", "time", 1, 6)]
)
def test_full_and_factorised_agree_where_their_masks_do(over, idle, steps, space, causal):
  """With one place all attention is over time, with one step over space; the idle blocks are made to add nothing."""
  full = dataclasses.replace(CONFIG, steps=steps, space=space, causal=causal)
  pairs = dataclasses.replace(full, layers=4, mixing="factorised")
  one, two = _params(full), copy.deepcopy(_params(pairs))
  two["final_norm"] = one["final_norm"]
  for unit in ("unit_0", "unit_1"):
    two[unit][over] = one[unit]["clip"]
    two[unit][idle]["attention"]["o"] = np.zeros_like(two[unit][idle]["attention"]["o"])
    two[unit][idle]["mlp"]["down"] = np.zeros_like(two[unit][idle]["mlp"]["down"])
  x, valid = _input(full)
  expected = _apply(full)(one, x, valid)
  np.testing.assert_allclose(_apply(pairs)(two, x, valid), expected, rtol=1e-5, atol=1e-5)
  assert np.abs(expected - _apply(full)(one, x, np.zeros_like(valid))).max() > 0.1, "attention adds nothing"


@pytest.mark.parametrize(
  ("mixing", "causal"), [*((name, True) for name in MIXINGS), ("full", False), ("factorised", False)]
)
def test_only_a_causal_trunk_is_blind_to_the_future(mixing, causal):
  config = dataclasses.replace(MIXINGS[mixing], causal=causal)
  params, (x, valid) = _params(config), _input(config)
  apply, later = _apply(config), x.copy()
  later[:, 2] += 1.0
  valid[:] = True
  changed = np.asarray(apply(params, later, valid) != apply(params, x, valid)).any(-1)
  assert changed[:, 2].all()
  assert not changed[:, :2].any() if causal else changed[:, :2].all()


@pytest.mark.parametrize("mixing", MIXINGS)
def test_every_token_reaches_every_later_one(mixing):
  """Through two units, the first place of the first step reaches all others: no axis is left unmixed."""
  config = MIXINGS[mixing]
  params, (x, valid) = _params(config), _input(config)
  valid[:] = True
  other = x.copy()
  other[:, 0, 0] += 1.0
  apply = _apply(config)
  assert np.asarray(apply(params, other, valid) != apply(params, x, valid)).any(-1).all()


@pytest.mark.parametrize("mixing", MIXINGS)
def test_invalid_tokens_change_nothing(mixing):
  config = dataclasses.replace(MIXINGS[mixing], causal=MIXINGS[mixing].recurrent)
  params, (x, valid) = _params(config), _input(config)
  other = np.where(valid[..., None], x, 100.0).astype(np.float32)
  apply = _apply(config)
  before, after = (np.asarray(apply(params, value, valid)) for value in (x, other))
  assert 0 < valid.sum() < valid.size
  np.testing.assert_array_equal(after[valid], before[valid])
  nobody = np.zeros_like(valid)
  assert np.isfinite(apply(params, x, nobody)).all()


def _stacked(params, units):
  rest = {name: value for name, value in params.items() if not name.startswith("unit_")}
  return rest | {"units": jax.tree.map(lambda *v: np.stack(v), *(params[f"unit_{i}"] for i in range(units)))}


@pytest.mark.parametrize(
  ("mixing", "remat"),
  [
    ("factorised", "none"),
    ("factorised", "dots"),
    ("full", "full"),
    ("state_space", "dots"),
    ("hybrid", "full"),
  ],
)
def test_scan_and_remat_do_not_change_the_gradient(mixing, remat):
  """Against the unrolled trunk that keeps everything: value to 1e-6, gradients to 1e-5 of their largest."""
  config = MIXINGS[mixing]
  units = config.layers // len(config.unit)
  params, (x, valid) = _params(config), _input(config)

  def gradient(config, params):
    def loss(params):
      return (Trunk(config).apply({"params": params}, x, valid)[valid] ** 4).sum()

    # As in training: without LLVM's optimisation (conftest.py) sums of the two programs are rounded further apart.
    return jax.jit(jax.value_and_grad(loss), compiler_options={"xla_backend_optimization_level": 3})(params)

  one, expected = gradient(config, params)
  two, found = gradient(dataclasses.replace(config, scan=True, remat=remat), _stacked(params, units))
  assert float(two) == pytest.approx(float(one), rel=1e-6)
  for name, leaf in jax.tree_util.tree_leaves_with_path(_stacked(expected, units)):
    other = found
    for key in name:
      other = other[key.key]
    np.testing.assert_allclose(other, leaf, rtol=0, atol=1e-5 * np.abs(leaf).max(), err_msg=str(name))


@pytest.mark.parametrize("mixing", MIXINGS)
def test_bfloat16_changes_no_token_more_than_rounding_the_weights_would(mixing):
  """At every token, at most twice what float32 makes of weights and inputs that are off by up to 2^-8, the rounding of
  bfloat16; half of the outputs, of size 1, within 1/64.

  No fixed bound would do for a recurrence: at the first step of a place its output is value * (skip + dt c.b), which
  the norm over a head blows up to size 1 when the sum is nearly zero, and turns around with its sign.
  """
  config = MIXINGS[mixing]
  params, (x, valid) = _params(config), _input(config)

  def off(key):
    leaves, tree = jax.tree.flatten((params, x))
    keys = jax.random.split(key, len(leaves))
    moved = (w * (1 + jax.random.uniform(k, w.shape, minval=-(2.0**-8), maxval=2.0**-8))
             for k, w in zip(keys, leaves, strict=True))  # fmt: skip
    params_off, x_off = jax.tree.unflatten(tree, list(moved))
    return Trunk(config).apply({"params": params_off}, x_off, valid)

  exact = np.asarray(_apply(config)(params, x, valid))
  low = np.asarray(_apply(dataclasses.replace(config, dtype="bfloat16"))(params, x, valid))
  moved = np.asarray(jax.jit(lambda keys: jax.lax.map(off, keys))(jax.random.split(jax.random.key(0), 16)))
  assert low.dtype == np.float32
  error, allowed = np.abs(low - exact), 2 * np.abs(moved - exact).max(0)
  assert (error.max(-1) <= allowed.max(-1)).all()
  assert 0 < np.median(error) < 1 / 64


@pytest.mark.parametrize(("steps", "space"), [(2, 128), (64, 4)])
def test_memory_and_flops_fall_as_predicted(steps, space):
  """Where scores dominate, temporary memory is two arrays of them: 8 bytes H T S keys, within 10 %; keys are T S
  for full and max(T, S) for factorised attention. FLOPs of all products are those counted, within 1 %."""
  tokens = steps * space
  for mixing, keys in (("full", tokens), ("factorised", max(steps, space))):
    config = dataclasses.replace(MIXINGS[mixing], width=8, head_dim=2, layers=2, steps=steps, space=space)
    x, valid = _input(config, batch=1)
    compiled = _apply(config).lower(_params(config), x, valid).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes
    assert memory == pytest.approx(8 * config.head_count * tokens * keys, rel=0.1)
    flops = program_cost.cost(hlo.parse(compiled.as_text())).flops
    assert flops == pytest.approx(config.flops_per_token() / 3 * tokens, rel=0.01)


@pytest.mark.parametrize("mixing", ["full", "factorised"])
def test_attention_by_blocks_is_attention(mixing):
  """Of 12 tokens, or 4 and 3, five or two at a time: value and gradients by weights and input to 1e-5."""
  config = MIXINGS[mixing]
  params, (x, valid) = _params(config), _input(config)

  def gradient(block):
    blocked = dataclasses.replace(config, block=block)

    def loss(params, x):
      return (Trunk(blocked).apply({"params": params}, x, valid)[valid] ** 4).mean()

    return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)

  for expected, found in zip(jax.tree.leaves(gradient(0)), jax.tree.leaves(gradient(5 if mixing == "full" else 2)),
                             strict=True):  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_memory_of_blocks_grows_with_their_size_and_flops_stay():
  """Two arrays of the scores of a block, 8 bytes H block T S, within 10 %, where all at once take T S / block times
  as much; forward FLOPs are those counted, within 1 %."""
  config = dataclasses.replace(MIXINGS["full"], width=8, head_dim=2, layers=2, steps=4, space=256, block=128)
  x, valid = _input(config, batch=1)
  compiled = _apply(config).lower(_params(config), x, valid).compile()
  tokens = config.steps * config.space
  scores = 8 * config.head_count * config.block * tokens
  assert compiled.memory_analysis().temp_size_in_bytes == pytest.approx(scores, rel=0.1)
  flops = program_cost.cost(hlo.parse(compiled.as_text())).flops
  assert flops == pytest.approx(config.flops_per_token() / 3 * tokens, rel=0.01)


def test_the_scanned_program_does_not_grow_with_depth():
  """Equations of the gradient at 2 and 8 layers, calls opened: as many when scanned, four times as many unrolled."""

  def size(layers, scan):
    config = dataclasses.replace(MIXINGS["factorised"], layers=layers, scan=scan)
    x, valid = _input(config)
    params = nn.unbox(jax.eval_shape(Trunk(config).init, jax.random.key(0), x, valid)["params"])

    def loss(params):
      return Trunk(config).apply({"params": params}, x, valid).sum()

    return equations(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)

  def equations(jaxpr):
    inner = (getattr(value, "jaxpr", value) for eqn in jaxpr.eqns for value in eqn.params.values())
    return len(jaxpr.eqns) + sum(equations(one) for one in inner if hasattr(one, "eqns"))

  assert size(8, True) == pytest.approx(size(2, True), rel=0.01)
  assert size(8, False) > 3 * size(2, False)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"width": 20}, "width 20"),
    ({"mixing": "axial"}, "mixing is 'axial', not one of full, factorised, state_space, hybrid"),
    ({"mixing": "factorised", "layers": 3}, "layers 3 must be a multiple of 2"),
    ({"mixing": "state_space"}, "a recurrence has a state"),
    ({"mixing": "hybrid", "state": 4, "chunk": 2, "causal": False}, "is causal"),
    ({"state": 4}, "attention has neither"),
  ],
)
def test_a_shape_that_cannot_be_is_refused(change, words):
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(CONFIG, **change)
