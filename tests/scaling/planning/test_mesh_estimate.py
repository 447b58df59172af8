"""Meshes that divide, exact bytes of what goes in, and estimates that move the right way."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from models.motion_config import MotionConfig
from scaling.planning import mesh_estimate, slices
from scaling.planning.mesh_estimate import AXES, Leaf

MODEL = MotionConfig(
  width=1024, layers=8, head_dim=128, factors=(15, 17), features=63, steps=16, agents=16, dtype="bfloat16",
  scan=True, remat="full", adapter=0, prefix=0, heads=0, hidden=0,
)  # fmt: skip


WEIGHT = Leaf("['params']['up']", "state", (1024, 4096), 4, (("fsdp",), ("tensor",)))
BATCH = Leaf("tokens_BxTxA", "batch", (256, 16, 16), 2, (("data", "fsdp"), ("sequence",), ()))


def test_every_ordered_factorisation_once():
  """2^k chips have C(k + 3, 3) meshes of four axes; free leaves let all of them through."""
  found, blame = mesh_estimate.meshes(64, [])
  assert len(found) == len({tuple(sizes.values()) for sizes in found}) == math.comb(9, 3)
  assert all(math.prod(sizes.values()) == 64 for sizes in found) and blame == ""


def test_meshes_that_cut_an_array_unevenly_are_left_out_and_the_array_is_named():
  odd = dataclasses.replace(BATCH, shape=(12, 16, 16))
  found, blame = mesh_estimate.meshes(16, [WEIGHT, odd])
  assert {"data": 4, "fsdp": 1, "tensor": 4, "sequence": 1} in found
  assert all(12 % (sizes["data"] * sizes["fsdp"]) == 0 for sizes in found)
  assert blame == "tokens_BxTxA of shape [12, 16, 16]"
  assert mesh_estimate.meshes(7, [WEIGHT, BATCH])[0] == []


@pytest.mark.parametrize("sizes", [(1, 2, 2, 2), (2, 4, 1, 1), (8, 1, 1, 1), (1, 1, 8, 1)])
@pytest.mark.parametrize("leaf", [WEIGHT, BATCH])
def test_shards_are_those_of_jax(leaf, sizes):
  mesh = jax.make_mesh(sizes, AXES, axis_types=(jax.sharding.AxisType.Auto,) * 4)
  sharding = jax.NamedSharding(mesh, jax.P(*leaf.cuts))
  expected = math.prod(sharding.shard_shape(leaf.shape)) * leaf.itemsize
  assert mesh_estimate.shard_bytes(leaf, dict(zip(AXES, sizes, strict=True))) == expected


def _estimate(remat="full", **sizes):
  slice_ = slices.parse("v5e:8x8")
  places = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), -1).reshape(64, 2)
  model = dataclasses.replace(MODEL, remat=remat)
  sizes = dict.fromkeys(AXES, 1) | sizes
  assert math.prod(sizes.values()) == 64
  return mesh_estimate.estimate(model, [WEIGHT, BATCH], 256 * 256, 1, sizes, slice_, places)


def test_the_estimate_orders_what_everyone_agrees_on():
  spread, copied = _estimate(fsdp=64), _estimate(data=64)
  assert spread.state < copied.state and spread.total < copied.total
  assert _estimate("none", fsdp=64).total > _estimate("dots", fsdp=64).total > spread.total
  assert _estimate("none", fsdp=64).bound.compute < spread.bound.compute  # nothing is computed twice
  assert _estimate(tensor=8, data=8).bound.network > _estimate(fsdp=8, data=8).bound.network
  assert copied.bound.network > 0
