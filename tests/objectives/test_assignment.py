"""The assignment against SciPy's, and against all permutations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from objectives.assignment import assign


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (6, 6), (5, 9)])
def test_it_is_as_cheap_as_scipys(rows, columns):
  cost = np.random.default_rng(rows).normal(size=(40, rows, columns)).astype(np.float32)
  cost[::2] = np.round(cost[::2])  # ties
  found = np.asarray(jax.jit(jax.vmap(assign))(cost))
  for one, column in zip(cost, found, strict=True):
    assert len(set(column.tolist())) == rows
    best = linear_sum_assignment(one)
    np.testing.assert_allclose(one[np.arange(rows), column].sum(), one[best].sum(), rtol=1e-5, atol=1e-5)


def test_it_is_the_best_of_all_permutations():
  cost = np.random.default_rng(0).exponential(size=(4, 4)).astype(np.float32)
  best = min(itertools.permutations(range(4)), key=lambda p: cost[np.arange(4), list(p)].sum())
  np.testing.assert_array_equal(assign(jnp.asarray(cost)), best)


def test_more_rows_than_columns_are_refused():
  with pytest.raises(ValueError, match="3 rows"):
    assign(jnp.zeros((3, 2)))
