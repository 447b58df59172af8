"""Draws of records: the same whatever lies beside them, different from each other, times evenly spread."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from objectives import draws

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _batch(count, position=None):
  batch = {"real_B": jnp.ones(count, bool)}
  return batch if position is None else batch | {"position_B": jnp.asarray(position, jnp.int32)}


def test_a_record_draws_the_same_in_any_batch_and_order():
  key, order = jax.random.key(3), np.array([2, 0, 1])
  noise, time = draws.normal(key, _batch(3), jnp.zeros((3, 2))), draws.times(key, _batch(3))
  assert len(np.unique(noise)) == 6
  for batch, rows in ((_batch(5), np.arange(3)), (_batch(3, order), order)):
    other = draws.normal(key, batch, jnp.zeros((len(batch["real_B"]), 2)))
    np.testing.assert_array_equal(other[:3], noise[rows])
    np.testing.assert_array_equal(draws.times(key, batch)[:3], time[rows])


def test_times_are_evenly_spread_at_any_position():
  """n consecutive multiples of the golden ratio leave no gap longer than 2.62 / n (the three-gap theorem)."""
  for first in (0, 50_000_000):
    time = np.sort(draws.times(jax.random.key(0), _batch(64, first + np.arange(64))))
    assert time[0] >= 0 and time[-1] < 1
    gaps = np.diff(np.append(time, time[0] + 1))
    assert gaps.max() < 2.62 / 64 and gaps.min() > 0.3 / 64


def test_times_are_uniform():
  time = jax.vmap(lambda key: draws.times(key, _batch(1, [7])))(jax.random.split(jax.random.key(1), 4000))
  assert abs(float(time.mean()) - 0.5) < 5 / np.sqrt(12 * 4000)


def _among(key, others) -> bool:
  return bool((jax.random.key_data(others) == jax.random.key_data(key)[None]).all(-1).any())


def test_no_number_is_folded_into_a_key():
  """A number that somebody chose is a record's, or a part of a split: `split` names keys, `aside` sets them apart."""
  folders = ("models", "objectives", "experiments", "evaluation")
  code = {path: path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py")}
  assert len(code) > 100
  assert [path for path, text in code.items() if re.search(r"fold_in\([^()]*, *\d+\)", text)] == []


def test_what_is_drawn_aside_shares_no_stream_with_the_loss():
  """Neither a part of the split key nor a record's; the planted fault, fold_in(key, 1), is both."""
  key = jax.random.key(5)
  for others in (jax.random.split(key, 2), jax.random.split(key, 1000), draws.keys(key, _batch(1000))):
    assert not _among(draws.aside(key), others)
    assert _among(jax.random.fold_in(key, 1), others)
