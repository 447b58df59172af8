"""Weights that a run begins with are cut over its mesh, and are copies."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from experiments import mesh as meshes
from experiments import start
from experiments.setup import Setup


def _placed(sizes, *axes):
  mesh = meshes.make_mesh(*sizes, jax.devices()[: np.prod(sizes)])
  return NamedSharding(mesh, PartitionSpec(*axes))


def _setup(sharding) -> Setup:
  """Of a task whose student and teacher are four zeros."""
  spec = jax.ShapeDtypeStruct((4,), jnp.float32, sharding=sharding)
  fresh = {name: {"a": jax.device_put(np.zeros(4, np.float32), sharding)} for name in ("student", "teacher")}
  parts = dict.fromkeys(Setup.__dataclass_fields__, None) | {
    "config": types.SimpleNamespace(start=types.SimpleNamespace(other_shapes="refuse")),
    "spec": {"params": jax.tree.map(lambda _: spec, fresh)},
    "init": lambda key: {"params": jax.tree.map(jnp.copy, fresh), "step": 0},
  }
  return Setup(**parts)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (1, 1, 2, 1)])
def test_a_state_that_is_given_up_leaves_its_start_whole(sizes):
  """Student and teacher begin with the same arrays; a step donates its state, and a roll-back begins again."""
  cut = _placed(sizes, "tensor")
  base = {"a": jax.device_put(np.arange(4.0, dtype=np.float32), cut)}
  setup, carried = start.starting_from(_setup(cut), base)
  assert carried.carried == ["student/a", "teacher/a"]
  step = jax.jit(lambda params: jax.tree.map(lambda x: x + 1, params), donate_argnums=0)
  for _ in range(2):
    params = setup.init(None)["params"]
    assert {leaf.sharding for leaf in jax.tree.leaves(params)} == {cut}
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, np.arange(1.0, 5.0)), step(params))


def test_what_a_mesh_cannot_cut_is_whole_on_it():
  cut = _placed((1, 1, 2, 1), "tensor")
  for length, spec in ((4, PartitionSpec("tensor")), (3, PartitionSpec())):
    leaf = jax.ShapeDtypeStruct((length,), jnp.float32, sharding=cut)
    assert meshes.whole_unless_even(leaf).sharding == NamedSharding(cut.mesh, spec)
