"""What decoders are made of, against closed forms: rotary time, causal attention."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import Attention, rotary

STEPS, HEADS, HEAD_DIM, WIDTH = 6, 2, 8, 12
FREQUENCY = 100.0 ** (-np.arange(HEAD_DIM // 2) / (HEAD_DIM // 2))


def _spin(x_SxHxK: np.ndarray, positional: bool) -> np.ndarray:
  """Feature pairs as complex numbers [S, H, K / 2], turned by their position, in float64."""
  pairs = x_SxHxK[..., : HEAD_DIM // 2] + 1j * x_SxHxK[..., HEAD_DIM // 2 :]
  angle = np.arange(len(x_SxHxK))[:, None, None] * FREQUENCY * positional
  return pairs * np.exp(1j * angle)


def test_rotary_scores_are_those_of_the_difference_in_time():
  """q at s and k at s' meet as Re sum_j q_j conj(k_j) exp(i (s - s') f_j): the same for every shift of both."""
  rng = np.random.default_rng(0)
  q, k = rng.normal(size=(2, HEAD_DIM))
  still = np.zeros((1, STEPS, 1, HEAD_DIM))
  score = np.einsum(
    "shk,zhk->sz", *(np.asarray(rotary(jnp.asarray(still + v, jnp.float32)))[0] for v in (q, k))
  )
  half = HEAD_DIM // 2
  product = (q[:half] + 1j * q[half:]) * np.conj(k[:half] + 1j * k[half:])
  apart = np.arange(STEPS)[:, None] - np.arange(STEPS)[None]
  expected = (product * np.exp(1j * apart[..., None] * FREQUENCY)).sum(-1).real
  np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-5)
  assert np.ptp(expected[:, 0]) > 0.5, "all distances score the same: the comparison shows nothing"


@pytest.mark.parametrize(("width", "reach"), [(8, 99), (32, 236)])
def test_the_slowest_pair_tells_steps_apart_up_to_half_a_circle(width, reach):
  turned = rotary(jnp.ones((1, reach + 20, 1, width), jnp.float32))[0, :, 0]
  # (a cos - b sin, b cos + a sin) for a = b = 1
  cos = np.asarray(turned[:, width // 2 - 1] + turned[:, -1]) / 2
  falling = np.diff(cos) < 0
  assert falling[: reach - 1].all() and not falling[reach:].any()


def rows_of(mask):
  """What Attention asks for: rows -> those rows of the mask [N, 1, S, S]."""
  return lambda row_Q: jnp.asarray(mask)[:, :, row_Q]


@pytest.fixture(scope="module")
def attended():
  """attended(positional): module, parameters that are nowhere zero, input [N, S, D], mask [N, 1, S, S]."""
  rng = np.random.default_rng(1)
  x = rng.normal(size=(3, STEPS, WIDTH)).astype(np.float32)
  mask = ((rng.random((3, 1, 1, STEPS)) < 0.8) | np.eye(STEPS, dtype=bool)) & np.tri(STEPS, dtype=bool)

  def make(positional: bool):
    module = Attention(HEADS, HEAD_DIM, jnp.dtype("float32"), positional, prefix=0, block=0)
    shapes = nn.unbox(jax.eval_shape(lambda: module.init(jax.random.key(0), x, rows_of(mask)))["params"])
    draw = np.random.default_rng(2)
    params = {name: draw.normal(0, 0.5, shapes[name].shape).astype(np.float32) for name in "qkvo"}
    return module, params, x, mask

  return make


@pytest.mark.parametrize("positional", [True, False])
def test_attention_is_its_formula(attended, positional):
  """softmax over s' <= s of Re(q conj k) / sqrt(K), in float64; with `positional` both are turned by time."""
  module, params, x, mask = attended(positional)
  found = module.apply({"params": params}, x, rows_of(mask))
  q, k, v = (np.einsum("nsd,dhk->nshk", x.astype(np.float64), params[name]) for name in "qkv")
  seen = mask[:, 0]
  expected = np.zeros_like(x, np.float64)
  for n in range(len(x)):
    score = np.einsum("shj,zhj->hsz", _spin(q[n], positional), np.conj(_spin(k[n], positional))).real
    weight = np.where(seen[n], np.exp(score / np.sqrt(HEAD_DIM)), 0)
    weight /= weight.sum(-1, keepdims=True)
    expected[n] = np.einsum("hsz,zhk,hkd->sd", weight, v[n], params["o"])
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def test_only_positional_attention_knows_the_order_of_what_came_before(attended):
  order = np.array([3, 0, 4, 2, 1, STEPS - 1])
  for positional in (True, False):
    module, params, x, _ = attended(positional)
    every = rows_of(np.tri(STEPS, dtype=bool)[None, None])
    last, shuffled = (
      np.asarray(module.apply({"params": params}, x[:, o], every))[:, -1] for o in (np.arange(STEPS), order)
    )
    difference = np.abs(last - shuffled).max()
    assert difference > 0.05 if positional else difference < 1e-5
