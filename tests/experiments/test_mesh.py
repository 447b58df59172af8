"""Batches on the device: the same values, placed as their names say, on one device and on eight."""

import jax
import numpy as np
import pytest

from experiments import mesh as meshes
from tests.worlds import random_batch


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 2, 1, 2)])
def test_a_batch_keeps_its_values_and_is_placed_by_its_names(shape):
  mesh = meshes.make_mesh(*shape, jax.devices()[: np.prod(shape)])
  batch = random_batch(4)
  placed = meshes.put_batch(batch, mesh)
  assert placed.keys() == batch.keys()
  for name, value in batch.items():
    assert placed[name].dtype == value.dtype and placed[name].committed
    assert placed[name].sharding == meshes.batch_sharding(name, mesh)
    np.testing.assert_array_equal(placed[name], value)
