"""Codecs: what arrives, in how many bytes exactly, without bias, and what error feedback adds up to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from federated import algorithms, compression, wire
from federated.rounds import make_round
from tests.federated.quadratics import cohort, loss_fn, problem, weighted_rest

RNG = np.random.default_rng(0)
UPDATE = {
  "a": jnp.asarray(RNG.normal(size=(60, 40)), jnp.float32),
  "b": jnp.asarray(RNG.normal(size=37), jnp.float32),
}
ENTRIES = 60 * 40 + 37
CODECS = {
  "top_k": compression.top_k(0.01),
  "top_k16": compression.top_k(0.01, 16),
  "one_of": compression.one_of(),
  "sign": compression.sign(),
  "rotated 1": compression.sign(rotate=7),
  "8": compression.stochastic(8),
  "4": compression.stochastic(4),
  "2": compression.stochastic(2),
  "rotated 4": compression.stochastic(4, rotate=7),
  "power": compression.power(2),
}


def sent(codec, update=UPDATE, seed=0):
  message, _ = codec.encode(update, codec.state_init(update), jax.random.key(seed))
  return message, codec.decode(message, update)


def apart(a, b) -> float:
  a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (a, b))
  return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("name", CODECS)
def test_bytes_are_those_of_the_message(name):
  message, _ = sent(CODECS[name])
  assert len(wire.encode(message)) == wire.size(compression.message_shapes(CODECS[name], UPDATE))


@pytest.mark.parametrize(
  ("name", "body"),
  [
    ("top_k", round(0.01 * ENTRIES) * (2 + 4)),
    ("top_k16", round(0.01 * ENTRIES) * (2 + 2)),
    ("one_of", -(-ENTRIES // 32) + 3 * 2),  # 77 blocks
    ("sign", 3 * (1024 // 8 + 4)),
    ("rotated 1", 3 * (1024 // 8 + 4)),
    ("8", 3 * (1024 + 4)),
    ("4", 3 * (512 + 4)),
    ("2", 3 * (256 + 4)),
    ("power", 2 * (60 + 40) * 4 + 37 * 4),
  ],
)
def test_a_message_is_as_short_as_it_should_be(name, body):
  assert wire.size(compression.message_shapes(CODECS[name], UPDATE)) == wire.size({}) + body


@pytest.mark.parametrize(
  ("name", "most"),
  [("8", 0.02), ("4", 0.3), ("rotated 4", 0.3), ("rotated 1", 0.8), ("top_k", 0.98), ("one_of", 0.93)],
)
def test_an_update_arrives_about_as_it_was(name, most):
  assert 0 < apart(sent(CODECS[name])[1], UPDATE) < most


def test_top_k_keeps_the_largest_exactly():
  _, back = sent(compression.top_k(0.01))
  flat, got = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (UPDATE, back))
  order = np.argsort(-np.abs(flat))[: round(0.01 * ENTRIES)]
  np.testing.assert_array_equal(got[order], flat[order])
  assert np.count_nonzero(got) == len(order)


@pytest.mark.parametrize("name", ["4", "2", "rotated 4"])
def test_stochastic_rounding_is_unbiased(name):
  codec = CODECS[name]
  draw = jax.jit(jax.vmap(lambda key: codec.decode(codec.encode(UPDATE, {}, key)[0], UPDATE)["b"]))
  drawn = np.asarray(draw(jax.random.split(jax.random.key(1), 4000)))
  error = drawn.std(0) / np.sqrt(len(drawn))
  assert np.abs((drawn.mean(0) - np.asarray(UPDATE["b"])) / np.maximum(error, 1e-9)).max() < 5


def test_a_rotation_evens_out_what_stands_alone():
  spike = {"a": jnp.zeros(1024).at[3].set(100.0) + UPDATE["a"].reshape(-1)[:1024]}
  plain, turned = (apart(sent(compression.stochastic(4, rotate=seed), spike)[1], spike) for seed in (None, 7))
  assert turned < plain / 2


def test_power_is_exact_for_a_matrix_of_its_rank():
  low = {"a": jnp.asarray(RNG.normal(size=(60, 2)) @ RNG.normal(size=(2, 40)), jnp.float32), "b": UPDATE["b"]}
  assert apart(sent(CODECS["power"], low)[1], low) < 1e-5


def test_one_of_keeps_the_greatest_of_every_block_within_half_a_step():
  _, back = sent(CODECS["one_of"])
  flat, got = (
    np.pad(np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]), (0, 77 * 32 - ENTRIES)).reshape(
      32, 77
    )
    for tree in (UPDATE, back)
  )
  assert (np.count_nonzero(got, axis=0) <= 1).all()
  place = np.abs(flat).argmax(0)
  kept, meant = got[place, np.arange(77)], flat[place, np.arange(77)]
  assert np.count_nonzero(kept) == np.count_nonzero(got)
  groups = [np.abs(meant[k : k + 32]).max() for k in range(0, 77, 32)]
  assert (np.abs(kept - meant) <= np.repeat(groups, 32)[:77] / 4 + 1e-3).all()


def test_signs_after_a_rotation_are_hardly_biased():
  """Averaged over rotations; in a block of its own the mean sign would stay |x|_1 / |x|_2 sqrt(n) short."""
  update = {"a": jnp.asarray(RNG.gamma(0.5, size=1024), jnp.float32)}
  codecs = [compression.sign(rotate=seed) for seed in range(64)]
  mean = jax.tree.map(lambda *x: sum(x) / 64, *(sent(codec, update)[1] for codec in codecs))
  assert apart(mean, update) < 0.12 < 0.5 < apart(sent(compression.sign(), update)[1], update)


@pytest.mark.parametrize("name", ["sign", "top_k", "one_of", "2", "power"])
def test_error_feedback_telescopes(name):
  """All that arrived, and what is still unsent, add up to all that was meant."""
  codec = CODECS[name]
  transmit, link = compression.through(codec, True), compression.link_init(codec, UPDATE, True)
  total = jax.tree.map(jnp.zeros_like, UPDATE)
  for number in range(5):
    arrived, link = transmit(UPDATE, link, jax.random.key(number))
    total = jax.tree.map(jnp.add, total, arrived)
  whole = jax.tree.map(jnp.add, total, link["unsent"])
  assert apart(whole, jax.tree.map(lambda x: 5 * x, UPDATE)) < 1e-5


def comes_to(codec, feedback, both_ways=False, rate=0.01, rounds=4000):
  a, b, weights = problem(size=12)
  algorithm = algorithms.fedavg(loss_fn, optax.sgd(rate))
  if both_ways:
    algorithm = compression.down(algorithm, codec)
  params = {"x": jnp.zeros(12)}
  server = algorithm.server_init(params)
  like = compression.link_init(codec, params, feedback)
  link = jax.tree.map(lambda x: jnp.broadcast_to(x, (8, *x.shape)), like)
  one = make_round(algorithm, 8, jnp.inf, jnp.inf, 8, compression.through(codec, feedback))

  def step(carry, key):
    server, link = carry
    server, _, link, _ = one(server, cohort(a, b, weights, 1)._replace(link=link), key)
    return (server, link), None

  (server, _), _ = jax.lax.scan(step, (server, link), jax.random.split(jax.random.key(0), rounds))
  return np.abs(np.asarray(server["params"]["x"]) - weighted_rest(a, b, weights)).max()


def test_top_k_with_error_feedback_comes_near_the_optimum_and_without_it_does_not():
  """Clients differ, so that it comes as near as its rate is small: what is unsent is in proportion to it."""
  codec = compression.top_k(0.2)
  near, nearer, apart = (
    comes_to(codec, True),
    comes_to(codec, True, rate=0.0025, rounds=16000),
    comes_to(codec, False),
  )
  assert nearer < near / 2 < apart / 10


def test_a_compressed_way_down_still_leads_to_the_optimum():
  assert comes_to(compression.top_k(0.3), True, both_ways=True) < comes_to(compression.top_k(0.3), False) / 5
