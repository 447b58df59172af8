"""State-space duality: recurrence, loop and matmul form are one function; causal, stable, indifferent to padding."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import state_space
from models.state_space import StateSpace

N, T, H, K, R, D = 2, 21, 3, 4, 5, 8


@pytest.fixture(scope="module")
def inputs():
  """u, log decay, b, c, state: decays from nearly 1 to nearly 0, a state that is not empty."""
  rng = np.random.default_rng(0)
  u, b, c, state = (
    rng.normal(size=shape).astype(np.float32) for shape in ((N, T, H, K), (N, T, R), (N, T, R), (N, H, K, R))
  )
  return u, -np.exp(rng.uniform(-6, 2, (N, T, H))).astype(np.float32), b, c, state


def _written_out(u, log_decay, b, c, state):
  """The equation in float64, summed over all pairs of steps."""
  u, log_decay, b, c, state = (np.asarray(x, np.float64) for x in (u, log_decay, b, c, state))
  total = log_decay.cumsum(1)
  y = np.einsum("nth,nhkr,ntr->nthk", np.exp(total), state, c)
  for t in range(u.shape[1]):
    for s in range(t + 1):
      decay = np.exp(log_decay[:, s + 1 : t + 1].sum(1))
      y[:, t] += np.einsum("nr,nr,nh,nhk->nhk", c[:, t], b[:, s], decay, u[:, s])
  return y


@pytest.mark.parametrize("form", ["scan", "one step at a time", 1, 4, 7, 64])
def test_every_form_is_the_equation(inputs, form):
  u, log_decay, b, c, state = inputs
  if form == "scan":
    y, last = jax.jit(state_space.scan)(*inputs)
  elif form == "one step at a time":
    step, rows, last = jax.jit(state_space.recurrence), [], state
    for t in range(T):
      last, row = step(last, u[:, t], log_decay[:, t], b[:, t], c[:, t])
      rows.append(row)
    y = jnp.stack(rows, 1)
  else:
    y, last = jax.jit(state_space.chunked, static_argnums=5)(*inputs, form)
  np.testing.assert_allclose(y, _written_out(*inputs), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(last, state_space.scan(*inputs)[1], rtol=1e-5, atol=1e-5)


def test_a_wrong_decay_is_found(inputs):
  u, log_decay, b, c, state = inputs
  y, _ = state_space.chunked(u, 1.01 * log_decay, b, c, state, 4)
  assert np.abs(y - _written_out(*inputs)).max() > 1e-3


def test_bfloat16_agrees_to_its_precision(inputs):
  """Two to the minus eighth of the size of what is summed, with the state in float32."""
  u, log_decay, b, c, state = inputs
  low = (x.astype(jnp.bfloat16) for x in (u, b, c))
  u16, b16, c16 = low
  y, last = state_space.chunked(u16, log_decay, b16, c16, state, 4)
  expected = _written_out(*inputs)
  assert y.dtype == last.dtype == jnp.float32
  assert np.abs(y - expected).max() < 2**-8 * np.abs(expected).max()


def test_gradients_of_the_chunks_are_those_of_the_loop(inputs):
  def loss(form, *args):
    return (form(*args)[0] ** 2).sum()

  chunks = jax.jit(jax.grad(lambda *a: loss(lambda *x: state_space.chunked(*x, 8), *a), argnums=(0, 1, 2, 3)))
  loop = jax.jit(jax.grad(lambda *a: loss(state_space.scan, *a), argnums=(0, 1, 2, 3)))
  for found, expected in zip(chunks(*inputs), loop(*inputs), strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_ten_thousand_steps_stay_finite_and_exact():
  """With a decay of 1 - 2e-4 the state sums thousands of steps: u = b = c = 1 gives the geometric series."""
  steps, decay = 10_000, np.float32(-2e-4)
  one = jnp.ones((1, steps, 1))
  y, _ = jax.jit(state_space.chunked, static_argnums=5)(
    one[..., None], jnp.full((1, steps, 1), decay), one, one, jnp.zeros((1, 1, 1, 1)), 64
  )
  a = np.exp(np.float64(decay))
  expected = (1 - a ** np.arange(1, steps + 1)) / (1 - a)
  np.testing.assert_allclose(y[0, :, 0, 0], expected, rtol=1e-4)


@pytest.fixture(scope="module")
def layer():
  """An input, its validity, the compiled layer, which is nowhere zero, and its parameters."""
  module = StateSpace(heads=H, head_dim=K, state=R, chunk=4, dtype=jnp.dtype("float32"), width=D)
  x = jax.random.normal(jax.random.key(0), (N, T, D))
  valid = np.random.default_rng(1).random((N, T)) < 0.8
  params = nn.unbox(jax.jit(module.init)(jax.random.key(1), x, valid))["params"]
  params["out"] = jax.random.normal(jax.random.key(2), params["out"].shape)
  return x, valid, jax.jit(lambda x, valid: module.apply({"params": params}, x, valid)), params


def test_the_layer_is_causal(layer):
  x, valid, apply, _ = layer
  before = apply(x, np.ones_like(valid))
  different = np.abs(apply(x.at[:, 9].add(1.0), np.ones_like(valid)) - before).max((0, 2)) > 0
  assert not different[:9].any() and different[9:].all()


def test_steps_that_are_not_valid_leave_the_rest_as_without_them(layer):
  x, valid, apply, _ = layer
  keep = valid[0]
  whole = apply(x, valid)[0][keep]
  alone = np.zeros((N, T, D), np.float32)
  alone[0, : keep.sum()] = x[0][keep]
  np.testing.assert_allclose(apply(alone, np.ones_like(valid))[0][: keep.sum()], whole, rtol=1e-5, atol=1e-5)


def test_the_layer_hands_its_state_from_step_to_step(layer):
  """Chunks of one step are the recurrence: the state is all that one step knows of those before."""
  x, valid, apply, params = layer
  steps = StateSpace(heads=H, head_dim=K, state=R, chunk=1, dtype=jnp.dtype("float32"), width=D)
  np.testing.assert_allclose(steps.apply({"params": params}, x, valid), apply(x, valid), rtol=1e-5, atol=1e-5)
