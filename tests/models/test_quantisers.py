"""VQ and FSQ: the averages in closed form, revival, straight-through gradients, the grid enumerated."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import fsq, vq
from models.fsq import FSQ
from models.vq import VQ

K, D = 6, 3
LEVELS = (5, 4, 2, 3)


def _vq(key=0):
  module = VQ(codes=K, dim=D)
  params = nn.unbox(module.init(jax.random.key(key), jnp.zeros((1, D)), method="encode"))["params"]
  return module, params


def test_a_vector_gets_the_nearest_code_and_a_code_gets_itself():
  module, params = _vq()
  x = jax.random.normal(jax.random.key(1), (2, 7, D))
  index, quantised = module.apply({"params": params}, x, method="encode")
  distance = np.linalg.norm(np.asarray(x)[..., None, :] - np.asarray(params["codes"]), axis=-1)
  np.testing.assert_array_equal(index, distance.argmin(-1))
  np.testing.assert_allclose(quantised, np.asarray(params["codes"])[index], rtol=1e-5, atol=1e-6)
  codes = module.apply({"params": params}, np.arange(K), method="decode")
  np.testing.assert_array_equal(
    module.apply({"params": params}, codes, method="encode")[0], np.arange(module.vocabulary)
  )


def test_the_gradient_passes_straight_through_and_misses_the_codebook():
  module, params = _vq()
  x = jax.random.normal(jax.random.key(1), (4, D))
  weight = jax.random.normal(jax.random.key(2), (4, D))

  def loss(x, params):
    return (weight * module.apply({"params": params}, x, method="encode")[1]).sum()

  to_x, to_params = jax.grad(loss, argnums=(0, 1))(x, params)
  np.testing.assert_array_equal(to_x, weight)
  assert all(not np.any(leaf) for leaf in jax.tree.leaves(to_params))


def test_statistics_are_sums_and_counts_and_add_up():
  rng = np.random.default_rng(0)
  x, index, weight = rng.normal(size=(20, D)), rng.integers(0, K, 20), (rng.random(20) < 0.7) * 1.0
  sums, counts = (
    vq.sums(jnp.float32(x), index, jnp.float32(weight), K), vq.uses(index, jnp.float32(weight), K)
  )  # fmt: skip
  for k in range(K):
    mine = (index == k) & (weight > 0)
    np.testing.assert_allclose(sums[k], x[mine].sum(0), rtol=1e-5, atol=1e-6)
    assert counts[k] == mine.sum()


def test_many_codes_are_taken_in_blocks_with_the_same_result_and_less_memory(monkeypatch):
  """1,000 codes, two of them the same: indices and sums are the same to the bit, an eighth of the codes at a time."""
  codes, vectors = 1000, 400
  book = jax.random.normal(jax.random.key(0), (codes, D)).at[900].set(0.5).at[17].set(0.5)
  x = jax.random.normal(jax.random.key(1), (vectors, D)).at[0].set(0.5)
  found = {}
  for together in (codes, 125):
    monkeypatch.setattr(vq, "_TOGETHER", together * vectors)

    def both(x, book):
      index = vq.nearest(x, book)
      return index, vq.sums(x, index, jnp.ones(vectors), codes)

    compiled = jax.jit(both).lower(x, book).compile()
    found[together] = (*compiled(x, book), compiled.memory_analysis().temp_size_in_bytes)
  assert found[codes][0][0] == 17, "a tie goes to the lower index"
  np.testing.assert_array_equal(found[125][0], found[codes][0])
  np.testing.assert_array_equal(found[125][1], found[codes][1])
  assert found[125][2] < found[codes][2] / 4


def test_averages_follow_the_closed_form():
  """After n batches of the same statistics: x decays as decay^n, the batch has 1 - decay^n of the weight."""
  rng = np.random.default_rng(0)
  counts = np.float32([3, 1, 0, 5, 2, 9])
  sums = rng.normal(size=(K, D)).astype(np.float32) * counts[:, None]
  start = {
    "codes": jnp.float32(rng.normal(size=(K, D))),
    "sums": jnp.float32(rng.normal(size=(K, D))),
    "counts": jnp.float32(rng.random(K)),
  }
  book = start
  for _ in range(7):
    book = vq.follow(book, sums, counts, 0.9)
  left = 0.9**7
  expected_counts = left * np.asarray(start["counts"]) + (1 - left) * counts
  expected_sums = left * np.asarray(start["sums"]) + (1 - left) * sums
  total = expected_counts.sum()
  smoothed = total * (expected_counts + vq.EPSILON) / (total + K * vq.EPSILON)
  np.testing.assert_allclose(book["counts"], expected_counts, rtol=1e-5)
  np.testing.assert_allclose(book["sums"], expected_sums, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(book["codes"], expected_sums / smoothed[:, None], rtol=1e-5, atol=1e-6)


def test_a_dead_code_comes_back_on_a_vector_of_the_batch_and_the_others_stay():
  _, params = _vq()
  params = params | {"counts": jnp.float32([2, 0.01, 3, 4, 0.02, 5])}
  x = jax.random.normal(jax.random.key(3), (10, D))
  book = vq.revive(params, vq.candidates(x, K, jax.random.key(4)), least=0.1)
  for k in (1, 4):
    assert (np.asarray(x) == np.asarray(book["codes"][k])).all(-1).any()
    assert book["counts"][k] == 1
  for k in (0, 2, 3, 5):
    np.testing.assert_array_equal(book["codes"][k], params["codes"][k])


def test_a_short_fit_to_a_known_mixture_uses_most_codes():
  """16 clusters, 16 codes that all start in one place: without revival one code would take everything."""
  rng = np.random.default_rng(0)
  centres = 4 * rng.normal(size=(16, 2))
  book = {"codes": jnp.full((16, 2), 9.0), "sums": jnp.full((16, 2), 9.0), "counts": jnp.ones(16)}

  @jax.jit
  def fit(book, x, key):
    index = vq.nearest(x, book["codes"])
    counts = vq.uses(index, jnp.ones(len(x)), 16)
    book = vq.follow(book, vq.sums(x, index, jnp.ones(len(x)), 16), counts, 0.8)
    return vq.revive(book, vq.candidates(x, 16, key), 0.5), counts

  for step in range(60):
    x = centres[rng.integers(0, 16, 256)] + 0.1 * rng.normal(size=(256, 2))
    book, counts = fit(book, jnp.float32(x), jax.random.key(step))
  share = np.asarray(counts) / counts.sum()
  assert np.exp(-(share * np.log(np.maximum(share, 1e-9))).sum()) > 0.5 * 16


@pytest.fixture(scope="module")
def grid():
  """Every code of LEVELS, the first channel the lowest digit."""
  axes = [np.arange(-(n // 2), n - n // 2) / (n // 2) for n in LEVELS]
  return np.float32([point[::-1] for point in itertools.product(*axes[::-1])])


def test_indices_and_codes_are_the_grid_in_mixed_radix(grid):
  module = FSQ(LEVELS)
  assert module.vocabulary == len(grid) == 120
  np.testing.assert_array_equal(module.apply({}, np.arange(120), method="decode"), grid)
  np.testing.assert_array_equal(fsq.to_index(jnp.asarray(grid), LEVELS), np.arange(120))


def test_every_code_is_reached_and_nothing_else(grid):
  z = 3 * jax.random.normal(jax.random.key(0), (20_000, len(LEVELS)))
  index, q = FSQ(LEVELS).apply({}, z, method="encode")
  np.testing.assert_allclose(q, grid[index], atol=1e-6)
  assert len(np.unique(index)) == len(grid)


def test_the_range_of_the_levels_holds_however_far_out(grid):
  far = jnp.stack([jnp.full(len(LEVELS), -1e4), jnp.full(len(LEVELS), 1e4)])
  index, _ = FSQ(LEVELS).apply({}, far, method="encode")
  np.testing.assert_array_equal(index, [0, 119])


def test_rounding_has_the_gradient_of_the_bound():
  z = jax.random.normal(jax.random.key(0), (5, len(LEVELS)))
  half = np.float32([n // 2 for n in LEVELS])
  found = jax.grad(lambda z: fsq.quantise(z, LEVELS).sum())(z)
  expected = jax.grad(lambda z: (fsq.bound(z, LEVELS) / half[None]).sum())(z)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
